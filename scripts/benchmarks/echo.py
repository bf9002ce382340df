"""The floor under a request on a WebSocket: an echo server and a client, each a process of its own on uvloop."""

from scripts.benchmarks.subject import Unit
from scripts.benchmarks.worker import Worker

TEXT_BYTES = 200
WARM_UP_S = 0.3


class EchoFloor:
    """Round trips of a 200-byte text frame on one connection over loopback, no deflate: milliseconds each."""

    name = "ws_echo"
    unit = Unit.MS

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def start(self) -> None:
        server = Worker("echo_server")
        self._workers.append(server)
        port = int(server.read()["port"])
        self._workers.append(Worker("echo_client", f"ws://127.0.0.1:{port}/"))
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        client = self._workers[-1]
        samples: list[float] = client.ask({"text": "x" * TEXT_BYTES, "window_s": window_s})["samples_ms"]
        return samples

    def stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()

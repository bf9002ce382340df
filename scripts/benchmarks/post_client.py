"""A process that posts tasks to a hub and waits for each one's ledgered outcome, on connections that are kept
for a window.

Arguments: HOST:PORT of the web port, API key, box ids (comma-separated), number of clients. A request ``{"window_s"}``
is answered ``{"samples_ms", "wall_s"}``: the time of each `POST …/tasks?wait_s=60` that was made in the window.
"""

import asyncio
import itertools
import json
import sys
from time import perf_counter
from typing import Any

import uvloop

BODY = b'{"kind":"bash.exec","command":"echo test"}'


class Client:
    """One connection; plain HTTP/1.1 by hand, so that the client weighs little beside the hub."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key

    def close(self) -> None:
        """Leave; a server closes what is idle between two windows anyway."""
        self._writer.close()

    async def post(self, box: str) -> Any:
        """The task as it ended."""
        self._writer.write(
            f"POST /api/v1/boxes/{box}/tasks?wait_s=60 HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {self._key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()
            + BODY
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
        body = await self._reader.readexactly(int(fields[b"content-length"]))
        if head.split(b" ", 2)[1] != b"200":
            raise SystemExit(f"no outcome: {head.decode()}{body.decode()}")
        return json.loads(body)


async def _main(address: str, key: str, boxes: list[str], count: int) -> None:
    host, _, port = address.rpartition(":")
    turn = itertools.cycle(boxes)
    while line := await asyncio.to_thread(sys.stdin.readline):
        window_s = float(json.loads(line)["window_s"])
        clients = [Client(*await asyncio.open_connection(host, int(port)), key) for _ in range(count)]
        samples: list[float] = []
        began = perf_counter()

        async def work(client: Client, until: float, samples: list[float]) -> None:
            while perf_counter() < until:
                asked = perf_counter()
                task = await client.post(next(turn))
                samples.append((perf_counter() - asked) * 1000)
                if task["state"] != "succeeded":
                    raise SystemExit(f"a task did not succeed: {task}")

        await asyncio.gather(*(work(client, began + window_s, samples) for client in clients))
        for client in clients:
            client.close()
        print(json.dumps({"samples_ms": samples, "wall_s": perf_counter() - began}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])))

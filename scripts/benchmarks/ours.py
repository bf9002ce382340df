"""Operis itself, measured beside the floors: a real hub and a real box as processes of their own."""

import json
import shutil
import time
from pathlib import Path

from scripts.benchmarks.errors import BenchError
from scripts.benchmarks.subject import Subject, Unit
from scripts.benchmarks.worker import Worker
from tests.system.plant import Plant

WARM_UP_S = 1.0
PARALLEL = 8
CLIENTS = 32
SIMULATED_BOXES = 100


class Operis:
    """The hub and the box that several subjects share; started by the first, ended by the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = 0
        self.plant: Plant | None = None

    def enter(self) -> Plant:
        """One more subject uses it."""
        self._users += 1
        if self.plant is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self.plant = Plant(self._folder)
            self.plant.start_hub()
            self.plant.start_box("box-1")
        return self.plant

    def leave(self) -> None:
        """One subject less."""
        self._users = max(0, self._users - 1)
        if self._users == 0 and self.plant is not None:
            self.plant.close()
            self.plant = None
            shutil.rmtree(self._folder, ignore_errors=True)


class ConsoleEcho:
    """`echo test` by a console: a frame out, the outcome's frame back."""

    name = "console_echo"
    unit = Unit.MS
    _TEXT = json.dumps({"type": "bash.exec", "command": "echo test"})

    def __init__(self, operis: Operis) -> None:
        self._operis = operis
        self._client: Worker | None = None

    def start(self) -> None:
        plant = self._operis.enter()
        key = plant.api("operator").key
        self._client = Worker("echo_client", f"{plant.relay_url}?boxId=box-1&apiKey={key}")
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        assert self._client is not None
        answer = self._client.ask({"text": self._TEXT, "window_s": window_s})
        last = json.loads(answer["last"])
        if not (last["success"] and last["stdout"] == "test\n"):
            raise BenchError(f"the console's answer is no success: {last}", hint="run scripts/test first")
        samples: list[float] = answer["samples_ms"]
        return samples

    def stop(self) -> None:
        if self._client is not None:
            self._client.stop()
        self._operis.leave()


class HttpEcho:
    """`echo test` by one POST with `wait_s` on a connection that is kept."""

    name = "http_echo"
    unit = Unit.MS

    def __init__(self, operis: Operis) -> None:
        self._operis = operis
        self._client: Worker | None = None

    def start(self) -> None:
        plant = self._operis.enter()
        self._client = Worker("post_client", plant.hub.web, plant.api("operator").key or "", "box-1", "1")
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        assert self._client is not None
        samples: list[float] = self._client.ask({"window_s": window_s})["samples_ms"]
        return samples

    def stop(self) -> None:
        if self._client is not None:
            self._client.stop()
        self._operis.leave()


class HubCpu:
    """The hub's CPU (user and system, all threads) for one task by one POST, 32 clients, to its ledgered outcome.

    By one real box, or by many simulated ones that answer at once: these load the hub, not the machine.
    """

    unit = Unit.US

    def __init__(self, operis: Operis, *, simulated: bool) -> None:
        self.name = "hub_cpu_100_boxes" if simulated else "hub_cpu_1_box"
        self._operis = operis
        self._simulated = simulated
        self._workers: list[Worker] = []

    def start(self) -> None:
        plant = self._operis.enter()
        boxes = ["box-1"]
        if self._simulated:
            token = plant.platform.post("customers", {"name": "simulated"}) and plant.token("simulated", uses=10_000)
            fleet = Worker("fleet", plant.relay_url, plant.url, token, str(SIMULATED_BOXES), "60")
            self._workers.append(fleet)
            boxes = fleet.read()["ids"]
        key = plant.platform.key or ""
        self._workers.append(Worker("post_client", plant.hub.web, key, ",".join(boxes), str(CLIENTS)))
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        plant = self._operis.plant
        assert plant is not None
        before = cpu_s(plant.hub.pid)
        done = len(self._workers[-1].ask({"window_s": window_s})["samples_ms"])
        return [(cpu_s(plant.hub.pid) - before) / done * 1e6]

    def stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()
        self._operis.leave()


class BoxAlone:
    """`echo test` on a box without a hub, each journaled: one at a time in ms, or how many a second in parallel."""

    def __init__(self, folder: Path, parallel: int) -> None:
        self.name = "box_sequential" if parallel == 1 else f"box_{parallel}"
        self.unit = Unit.MS if parallel == 1 else Unit.PER_S
        self._folder = folder / self.name
        self._parallel = parallel
        self._worker: Worker | None = None

    def start(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._worker = Worker("box_alone", str(self._folder))
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        assert self._worker is not None
        answer = self._worker.ask({"window_s": window_s, "parallel": self._parallel})
        samples: list[float] = answer["samples_ms"]
        return samples if self._parallel == 1 else [len(samples) / answer["wall_s"]]

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def ours(folder: Path) -> list[Subject]:
    """Every subject that is Operis itself."""
    operis = Operis(folder / "operis")
    return [
        ConsoleEcho(operis),
        HttpEcho(operis),
        HubCpu(operis, simulated=False),
        HubCpu(operis, simulated=True),
        BoxAlone(folder, 1),
        BoxAlone(folder, PARALLEL),
    ]


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process, by the scheduler's own nanoseconds (schedstat), dead threads aside."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_kb(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def idle_percent(pids: list[int], window_s: float) -> float:
    """How much of a core these processes use while nothing is asked of them."""
    before = sum(cpu_s(pid) for pid in pids)
    began = time.monotonic()
    time.sleep(window_s)
    return (sum(cpu_s(pid) for pid in pids) - before) / (time.monotonic() - began) * 100

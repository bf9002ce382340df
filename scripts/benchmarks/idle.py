"""What Operis costs while it has nothing to do: CPU and memory of a box, memory of a hub for each connected box."""

import shutil
import time
from pathlib import Path

from scripts.benchmarks.figures import Figure, Round, figure
from scripts.benchmarks.ours import idle_percent, rss_kb
from scripts.benchmarks.subject import Unit
from scripts.benchmarks.worker import Worker
from tests.system.plant import Plant

CONNECTIONS = 1000
# A connection's buffers and the allocator settle in a few seconds.
SETTLE_S = 3.0
PAUSE_S = 1.0


def idle(folder: Path, *, window_s: float) -> dict[str, Figure]:
    """Measured on a hub and a box of their own, after each has done some tasks."""
    shutil.rmtree(folder, ignore_errors=True)
    plant = Plant(folder)
    try:
        plant.start_hub()
        box = plant.start_box("box-1")
        for _ in range(50):
            plant.api().post("boxes/box-1/tasks?wait_s=30", {"kind": "bash.exec", "command": "echo test"})
        time.sleep(PAUSE_S)
        spawner = box.spawner_pid
        pids = [box.pid, *([] if spawner is None else [spawner])]
        cpu = idle_percent(pids, window_s)
        memory = sum(rss_kb(pid) for pid in pids) / 1024
        before = rss_kb(plant.hub.pid)
        plant.platform.post("customers", {"name": "simulated"})
        token = plant.token("simulated", uses=10 * CONNECTIONS)
        fleet = Worker("fleet", plant.relay_url, plant.url, token, str(CONNECTIONS), "120")
        try:
            fleet.read()
            time.sleep(SETTLE_S)
            a_box = (rss_kb(plant.hub.pid) - before) / CONNECTIONS
            hub_cpu = idle_percent([plant.hub.pid], window_s)
        finally:
            fleet.stop()
    finally:
        plant.close()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "box_idle_cpu": _one(Unit.PERCENT, cpu),
        "box_rss": _one(Unit.MB, memory),
        f"hub_rss_a_box_at_{CONNECTIONS}": _one(Unit.KB, a_box),
        f"hub_idle_cpu_at_{CONNECTIONS}": _one(Unit.PERCENT, hub_cpu),
    }


def _one(unit: Unit, value: float) -> Figure:
    return figure(unit, [Round(value, None)])

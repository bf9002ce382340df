"""The bare floors: which subjects they are, and what is derived from them."""

from pathlib import Path

from scripts.benchmarks.commit import CommitFloor
from scripts.benchmarks.echo import EchoFloor
from scripts.benchmarks.figures import Figure, quickest, weighted_sum
from scripts.benchmarks.spawn import PARALLEL, Method, SpawnFloor
from scripts.benchmarks.subject import Subject

# A task asked for on a WebSocket and done by a box: two durable commits in the hub, two on the box.
CONSOLE_FLOOR = {"ws_echo": 1, "spawn": 1, "commit": 4}
# The same task by itself on a box.
BOX_SEQUENTIAL_FLOOR = {"spawn": 1, "commit": 2}

PARALLEL_METHODS = (Method.POPEN, Method.THREADS, Method.LOOP)


def floors(folder: Path) -> list[Subject]:
    """Every floor, none of them started; commits are made in ``folder``."""
    return [
        SpawnFloor(Method.SEQUENTIAL),
        CommitFloor(folder),
        EchoFloor(),
        *(SpawnFloor(method) for method in PARALLEL_METHODS),
    ]


def derive(figures: dict[str, Figure]) -> dict[str, Figure]:
    """The floors that are made of the measured ones."""
    best = quickest(figures, [SpawnFloor(method).name for method in PARALLEL_METHODS])
    return {
        f"spawn_{PARALLEL}": figures[best],
        "console_floor": weighted_sum(figures, CONSOLE_FLOOR),
        "box_sequential_floor": weighted_sum(figures, BOX_SEQUENTIAL_FLOOR),
    }

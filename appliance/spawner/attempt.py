"""One run of one task, as the spawner sees it."""

from __future__ import annotations

import enum
import time

from appliance.spawner.records import Process

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from typing import Any


class Phase(enum.Enum):
    """How far the end of an attempt has come."""

    RUNNING = "running"
    TERMINATING = "terminating"  # SIGTERM was sent, SIGKILL follows at `wake_at`
    KILLING = "killing"  # SIGKILL was sent, the tree is looked at again at `wake_at`


class Attempt:
    """One run of one task: its leader process, and how far its end has come."""

    __slots__ = (
        "began_s",
        "born_s",
        "exit",
        "folder",
        "key",
        "killed_s",
        "pause_s",
        "phase",
        "pid",
        "process",
        "reported",
        "since_pid",
        "stamp",
        "told",
        "wake_at",
    )

    def __init__(self, key: str, folder: str, process: Process, since_pid: int) -> None:
        self.key, self.folder, self.process = key, folder, process
        self.pid, self.stamp = process.pid, process.stamp
        # All that it starts gets an id after this one.
        self.since_pid = since_pid
        self.born_s = time.monotonic()
        self.began_s = round(time.clock_gettime(time.CLOCK_BOOTTIME), 6)
        self.phase = Phase.RUNNING
        self.exit: dict[str, Any] | None = None
        self.told = False
        self.reported = False
        self.wake_at = 0.0
        self.killed_s = 0.0
        self.pause_s = 0.0

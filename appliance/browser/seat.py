"""One runner as the daemon sees it: its process, its connection, and the attempts that it has."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from appliance.browser.wire import Browser, encode
from appliance.live import LiveTask


class Stage(StrEnum):
    """Where a runner is in its life."""

    STARTING = "starting"  # ordered; its browser is not up yet
    READY = "ready"
    RETIRING = "retiring"  # gets nothing more, and is let go after its last attempt
    LOST = "lost"  # it ended or is being killed; its attempts are told once nothing of it lives


@dataclass(slots=True, eq=False)
class Seat:
    """A runner."""

    key: str
    """The spawner's name for it, and that of its folders."""
    token: str
    folder: Path
    temporary: Path
    stage: Stage = Stage.STARTING
    pid: int | None = None
    peer_pid: int | None = None
    """As the kernel says of who connected."""
    writer: asyncio.StreamWriter | None = None
    attempts: dict[str, LiveTask] = field(default_factory=dict)
    """By key."""
    browser: Browser | None = None
    tasks_done: int = 0
    pss_mib: int = 0
    why_lost: str = ""
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def say(self, message: Any) -> None:
        """Tell the runner; nothing where its connection is gone."""
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(encode(message))

    def after(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        """Call later, unless `calm` comes first."""
        self.calm(name)
        self.timers[name] = asyncio.get_running_loop().call_later(delay_s, call)

    def calm(self, name: str) -> None:
        """What was to be called under this name is not."""
        timer = self.timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Let the connection go and call nothing any more."""
        for name in list(self.timers):
            self.calm(name)
        if self.writer is not None:
            self.writer.close()

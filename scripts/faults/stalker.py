"""Kills what browser tasks run in: renderer, browser, driver, runner, daemon, spawner, at random moments."""

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psutil

from tests.system.plant import BoxProgram
from tests.system.program import wait_until

PAUSE_S: Final = (0.2, 2.2)
# How long a browser may take to be there again before the victim is another.
BROWSER_LIMIT_S: Final = 20.0
RUNNER: Final = "appliance.browser.runner"
# The journal has rounder times than this, and a crash is told a little later.
MARGIN_S: Final = 0.5


class Prey(StrEnum):
    """What is killed."""

    RENDERER = "renderer"
    BROWSER = "browser"
    DRIVER = "driver"
    RUNNER = "runner"
    DAEMON = "daemon"
    SPAWNER = "spawner"


WEIGHTS: Final = {
    Prey.RENDERER: 26,
    Prey.BROWSER: 20,
    Prey.DRIVER: 14,
    Prey.RUNNER: 16,
    Prey.DAEMON: 16,
    Prey.SPAWNER: 8,
}


@dataclass(frozen=True)
class Blow:
    """One kill. Who ran in its time, which is Unix seconds, may have been hit."""

    prey: Prey
    from_s: float
    to_s: float
    back_s: float | None
    """Until the box had a browser again; None where it kept the one it had."""


def runners(box: BoxProgram) -> list[psutil.Process]:
    """The living runners of a box: its folder stands in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if RUNNER in process.cmdline() and str(box.data) in process.environ().get("TMPDIR", ""):
                found.append(process)
    return found


class Stalker:
    """Kills in one box."""

    def __init__(self, box: BoxProgram, seed: int) -> None:
        self.blows: list[Blow] = []
        self._box = box
        self._chance = random.Random(f"{seed}.stalker")

    def strike(self) -> None:
        """Wait for a random moment at which there is a browser, then kill."""
        time.sleep(self._chance.uniform(*PAUSE_S))
        prey = self._chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
        runner = wait_until("a browser", self._with_browser, BROWSER_LIMIT_S)
        pid = self._pid(prey, runner)
        from_s, began_s = time.time() - MARGIN_S, time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if prey is Prey.DAEMON:
            self._box.wait()
            self._box.start()
        elif prey is Prey.SPAWNER:
            wait_until("another spawner", lambda: self._box.spawner_pid not in {None, pid})
        back_s = None
        if prey is not Prey.RENDERER:
            wait_until("another browser", lambda: self._with_browser(other_than=runner.pid), BROWSER_LIMIT_S)
            back_s = time.monotonic() - began_s
        self.blows.append(Blow(prey, from_s, time.time() + MARGIN_S, back_s))

    def _with_browser(self, other_than: int | None = None) -> psutil.Process | None:
        for runner in runners(self._box):
            with suppress(psutil.Error):
                if runner.pid != other_than and self._renderers(runner):
                    return runner
        return None

    @staticmethod
    def _renderers(runner: psutil.Process) -> list[psutil.Process]:
        found = []
        for process in runner.children(recursive=True):
            with suppress(psutil.Error):
                if "--type=renderer" in process.cmdline():
                    found.append(process)
        return found

    def _pid(self, prey: Prey, runner: psutil.Process) -> int:
        driver = runner.children()[0]
        match prey:
            case Prey.RENDERER:
                return self._chance.choice(self._renderers(runner)).pid
            case Prey.BROWSER:
                return driver.children()[0].pid
            case Prey.DRIVER:
                return driver.pid
            case Prey.RUNNER:
                return runner.pid
            case Prey.DAEMON:
                return self._box.pid
            case Prey.SPAWNER:
                return wait_until("a spawner", lambda: self._box.spawner_pid)

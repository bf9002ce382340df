"""A program of ours as a process: started, watched through its log, ended by its own pid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

ROOT: Final = Path(__file__).parents[2]
BIN: Final = ROOT / ".venv" / "bin"
# Far above what any step takes on a loaded machine: it ends a wait for what will not come.
LIMIT_S: Final = 20.0
POLL_S: Final = 0.01
LOG_TAIL_BYTES: Final = 20_000

T = TypeVar("T")


def wait_until(what: str, look: Callable[[], T | None], limit_s: float = LIMIT_S) -> T:
    """Look again and again until there is something other than None and False; AssertionError names `what` else."""
    until = time.monotonic() + limit_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < until, f"not within {limit_s:g} s: {what}"
        time.sleep(POLL_S)


class Program:
    """One of our commands, started any number of times, one process at a time, with one log."""

    def __init__(self, name: str, log: Path, ready: str) -> None:
        self.name = name
        self.log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def launch(self, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start it and return at once."""
        assert not self.is_running, f"{self.name} runs already"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [BIN / self.name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                process_group=0,
            )

    def said(self) -> str:
        """What it has logged since it was started last."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_ready(self) -> None:
        """Until it says that it is ready; fails at once where it ends instead."""

        def is_ready() -> bool:
            if self._ready in self.said():
                return True
            assert self.is_running, f"{self.name} ended with {self.wait()} before it was ready:\n{self.said()}"
            return False

        wait_until(f"{self.name} ready", is_ready)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Until it has ended; its exit status, negative after a signal."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.wait(limit_s)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.is_running:
            self.send(signal.SIGKILL)
            self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, limit_s: float = LIMIT_S) -> int:
        """End it in order; its exit status."""
        self.send(number)
        return self.wait(limit_s)

    def log_tail(self) -> str:
        """The end of its log over all starts."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

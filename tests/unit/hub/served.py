"""`operis-hub serve` as a real process on free ports."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.cli import main
from tests.unit.hub.http import Http

READY = re.compile(r"operis-hub ready: relay (ws://\S+/relay), web http://(\S+):(\d+), data (\S+)")
START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0
PROGRAM = (sys.executable, "-m", "hub.cli")


class Served:
    """One serving hub and its log."""

    def __init__(self, data: Path, process: asyncio.subprocess.Process) -> None:
        self.data = data
        self.process = process
        self.relay = ""
        self.web = ("", 0)
        self.log = ""
        self._reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait for the line that says so."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_LIMIT_S):
            while (found := READY.search(self.log)) is None:
                line = await self.process.stderr.readline()
                assert line, f"it ended before it was ready: {self.log}"
                self.log += line.decode()
        self.relay, self.web = found[1], (found[2], int(found[3]))
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += line.decode()

    def http(self, key: str | None = None) -> Http:
        """A client; by default with the platform admin's key."""
        return Http(self.web, key or (self.data / "admin.key").read_text().strip())

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(STOP_LIMIT_S):
            status = await self.process.wait()
        if self._reading is not None:
            await self._reading
        return status


@asynccontextmanager
async def served(data: Path, *more: str) -> AsyncIterator[Served]:
    """Serve from a folder while the context lasts; the log then holds no traceback and no secret."""
    flags = ("serve", "--data", str(data), "--relay", "127.0.0.1:0", "--web", "127.0.0.1:0", *more)
    process = await asyncio.create_subprocess_exec(*PROGRAM, *flags, stderr=asyncio.subprocess.PIPE)
    hub = Served(data, process)
    try:
        await hub.ready()
        yield hub
    finally:
        await hub.end()
    for secret in ("Traceback", "opk_", "opt_", "apiKey"):
        assert secret not in hub.log, hub.log


def admin(data: Path, *command: str) -> None:
    """Run an admin command beside it; AssertionError where it fails."""
    assert main([*command, "--data", str(data)]) == 0

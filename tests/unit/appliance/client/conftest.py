"""A box whose daemon answers, and its owner's command as a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance import status
from appliance.engine import Engine
from appliance.live import now_ms
from appliance.local_api.server import LocalApi
from appliance.uplink import Uplink
from tests.unit.appliance.engines import LIMIT_S, Engines


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()


class Owner:
    """Someone at a terminal of the box."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.started: list[asyncio.subprocess.Process] = []

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """Start `operis-box` with the folder's `--data` behind the command's name; all by pipes."""
        command, *rest = words
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "appliance.cli",
            command,
            "--data",
            str(self.data),
            *rest,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Output is buffered, as it is for most.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
        self.started.append(process)
        return process

    async def __call__(self, *words: str, given: bytes = b"") -> Done:
        """Run it to its end."""
        return await self.end(await self.start(*words), given)

    async def end(self, process: asyncio.subprocess.Process, given: bytes | None = None) -> Done:
        """Wait for its end."""
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate(given)
        assert process.returncode is not None
        return Done(process.returncode, out, err.decode())

    async def close(self) -> None:
        """Kill what is left."""
        for process in self.started:
            if process.returncode is None:
                process.kill()
                await process.communicate()


class Daemon:
    """The daemon of the engines' folder, without its process: it may go and come."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self.api: LocalApi | None = None

    async def start(self) -> Engine:
        """Open the folder and answer."""
        engine = await self.engines.open()
        uplink = Uplink(engine)
        started_ms = now_ms()
        self.api = LocalApi(engine, lambda: status.of_daemon(engine, uplink, started_ms))
        self.api.start()
        return engine

    async def stop(self) -> None:
        """Stop as after SIGTERM: tasks go on."""
        if self.api is not None:
            api, self.api = self.api, None
            await api.stop()
            await self.engines.close()


@pytest.fixture
async def daemon(engines: Engines) -> AsyncIterator[Daemon]:
    """A daemon that runs."""
    daemon = Daemon(engines)
    await daemon.start()
    yield daemon
    await daemon.stop()


@pytest.fixture
async def owner(daemon: Daemon) -> AsyncIterator[Owner]:
    """Who asks it."""
    owner = Owner(daemon.engines.path)
    yield owner
    await owner.close()

"""Engines under test: opened on a real folder with a real spawner, cut off or closed, and ended without a trace."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3.dbapi2 as sqlite3

from appliance import spawn
from appliance.browser.supervisor import BrowserLimits
from appliance.engine import Engine, EngineSettings
from appliance.executor import Limits
from appliance.live import Finished
from appliance.spawner import kernel, records
from cloudsync.spec import BashExec, BrowserRun

LIMIT_S = 20.0
LIMITS = Limits(disk_floor_bytes=1)
BROWSER = BrowserLimits(concurrency=2)

T = TypeVar("T")


def bash(command: str, **fields: Any) -> BashExec:
    """A task."""
    return BashExec(kind="bash.exec", command=command, **fields)


def browse(*steps: dict[str, Any], **fields: Any) -> BrowserRun:
    """A browser task that may reach the loopback."""
    return BrowserRun.model_validate(
        {"kind": "browser.run", "steps": list(steps), "allow": ["127.0.0.1"], "timeout_s": LIMIT_S, **fields}
    )


def run_command(task_id: str, command: str, *, remaining_s: float = 60.0, **fields: Any) -> dict[str, Any]:
    """A `run` entry as the hub sends it."""
    spec = {"kind": "bash.exec", "command": command, **fields}
    return {"type": "run", "task_id": task_id, "spec": spec, "created_by": "key-1", "remaining_s": remaining_s}


def cancel_command(task_id: str) -> dict[str, Any]:
    """A `cancel` entry as the hub sends it."""
    return {"type": "cancel", "task_id": task_id, "by": "key-1"}


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = kernel.read_stat(pid)
    return stat is not None and stat.state != b"Z"


async def until(what: str, look: Callable[[], T | None]) -> T:
    """Look until there is something other than None and False."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = look()
                if found is not None and found is not False:
                    return found
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT_S:g} s: {what}") from None


async def until_gone(pid: int) -> None:
    """Until a process has ended."""
    await until(f"the end of process {pid}", lambda: not is_alive(pid))


def number_in(path: Path) -> int | None:
    """The number that a task has written to a file, once its line is whole."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def spawner_pid(folder: Path) -> int | None:
    """The living spawner of a data folder."""
    try:
        pid = int((folder / records.LOCK_NAME).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(folder.resolve()) in words else None


class Engines:
    """The engines of one data folder, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine: Engine | None = None

    async def open(
        self,
        path: Path | None = None,
        *,
        task_user: str | None = None,
        browser: BrowserLimits = BROWSER,
        **limits: Any,
    ) -> Engine:
        """Open it; `limits` as in `executor.Limits`."""
        if path is not None:
            self.path = path
        self.engine = await Engine.open(self.path, EngineSettings(replace(LIMITS, **limits), task_user, browser))
        return self.engine

    async def run(self, command: str, **fields: Any) -> Finished:
        """Run a task to its end."""
        assert self.engine is not None
        return await self.wait(await self.engine.submit(bash(command, **fields)))

    async def browse(self, *steps: dict[str, Any], **fields: Any) -> Finished:
        """Run a browser task to its end."""
        assert self.engine is not None
        return await self.wait(await self.engine.submit(browse(*steps, **fields)))

    async def wait(self, task_id: str) -> Finished:
        """The end of a task, which must come."""
        assert self.engine is not None
        async with asyncio.timeout(LIMIT_S):
            finished = await self.engine.wait(task_id)
        assert finished is not None
        return finished

    def waiting_shell(self) -> int | None:
        """A process that waits for its attempt: the marker of those is empty."""
        pid = spawner_pid(self.path)
        children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return next((child for child in children if kernel.read_marker(child) == "" and is_alive(child)), None)

    async def until_a_shell_waits(self) -> int:
        """Until there is one; its pid."""
        return await until("a shell that waits", self.waiting_shell)

    async def apply(self, *entries: object, from_seq: int = 1) -> None:
        """Apply commands; returns when they are durable."""
        assert self.engine is not None
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.engine.intake.apply(from_seq, entries, done.set_result)
        assert await asyncio.wait_for(done, LIMIT_S) == from_seq + len(entries) - 1

    async def close(self) -> None:
        """Stop in order; what runs goes on."""
        if self.engine is not None:
            engine, self.engine = self.engine, None
            await engine.close()

    def kill_spawner(self) -> int:
        """SIGKILL the spawner; its pid."""
        pid = spawner_pid(self.path)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the journal says, as another process reads it."""
        connection = sqlite3.connect(f"file:{self.path / 'journal.db'}?mode=ro", uri=True, timeout=LIMIT_S)
        try:
            return list(connection.execute(query, values).fetchall())
        finally:
            connection.close()

    def write(self, sql: str, *values: object) -> None:
        """Change a journal that no engine has open."""
        connection = sqlite3.connect(self.path / "journal.db", isolation_level=None)
        connection.execute(sql, values)
        connection.close()

    def states(self, task_id: str) -> list[str]:
        """What the event log says of a task, in order."""
        query = (
            "SELECT json_extract(body, '$.state') FROM events WHERE json_extract(body, '$.task_id') = ? ORDER BY seq"
        )
        return [state for (state,) in self.rows(query, task_id)]

    async def end(self) -> None:
        """End all: the engine, its tasks, its spawner."""
        await self.close()
        pid = spawner_pid(self.path)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await until_gone(pid)
        for folder in [*self.path.glob("attempts/*"), *self.path.glob("browser/runners/*")]:
            await asyncio.to_thread(spawn.kill_leftovers, folder / "started", folder.name)

"""Finds out what is true after a daemon, a spawner or the machine was stopped, and sets it right.

The journal says what may run, the spawner what does, the attempts' folders what did; `planner.recover` decides.
"""

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance import bash, spawn
from appliance.executor import Executor
from appliance.folder import DataFolder, discard, remove_tree
from appliance.journal import SET_FACT, Journal
from appliance.live import LiveTask
from appliance.planner import Ending, Evidence, Verdict, recover
from appliance.spawn import Exited, Spawner, SpawnerError
from cloudsync.spec import BrowserRun, StepResult, Usage
from cloudsync.task import TaskState

log = logging.getLogger(__name__)

# Tasks wait while a spawner cannot be had.
RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Burial:
    """A task that is over, and what is to be recorded once nothing of it lives."""

    task: LiveTask
    ending: Ending
    usage: Usage | None = None
    ended_at_ms: int | None = None


class Recovery:
    """Brings the executor its spawner, at the start and whenever one is lost."""

    def __init__(self, executor: Executor, journal: Journal, folder: DataFolder) -> None:
        self._executor = executor
        self._journal = journal
        self._folder = folder
        self._clean_stop = journal.facts.clean_stop
        self._lock = asyncio.Lock()
        self._replacing: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def start(self) -> None:
        """Take up what the journal has in hand. `SpawnerError` where no spawner can be had."""
        executor = self._executor
        for row in self._journal.unfinished():
            task = LiveTask.from_row(row, self._folder)
            executor.tasks[task.id] = task
            if task.state is TaskState.RUNNING:
                executor.take_up(task)
                steps = self._journal.steps(task.id, task.attempt)
                task.steps = {n: StepResult.model_validate_json(body) for n, body in steps.items()}
            else:
                executor.waiting.append(task)
        executor.on_spawner_lost = self._on_lost
        await executor.browsing.open()
        self._journal.commit([(SET_FACT, ("clean_stop", ""))])
        async with self._lock:
            await self._connect()
            await self._sweep()

    async def close(self) -> None:
        """Replace no spawner any more."""
        self._is_closing = True
        for task in list(self._replacing):
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)

    def _on_lost(self) -> None:
        if self._is_closing:
            return
        log.error("the spawner was lost: another one is started", extra={"running": len(self._executor.running)})
        task = asyncio.get_running_loop().create_task(self._replace())
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self) -> None:
        async with self._lock:
            while self._executor.spawner is None:
                try:
                    await self._connect()
                except SpawnerError as error:
                    log.error("no spawner can be had", extra={"error": str(error), "hint": error.hint})
                    await asyncio.sleep(RETRY_S)
                except OSError as error:
                    log.error("no spawner can be had", extra={"error": error.strerror or str(error)})
                    await asyncio.sleep(RETRY_S)

    async def _connect(self) -> None:
        executor = self._executor
        executor.early_exits = {}
        is_lost = False

        def lost() -> None:
            nonlocal is_lost
            is_lost = True
            executor.on_lost()

        spawner = await Spawner.start_or_adopt(self._folder.path, on_event=executor.on_event, on_lost=lost)
        # From here to the end of `_set_right` nothing else runs: what the spawner said at the connect is still so.
        early, executor.early_exits = executor.early_exits, None
        if is_lost:
            return  # it died after its hello; `on_lost` has asked for the next one
        executor.spawner = spawner
        spawner.prepare(bash.prepared(executor.user), self._folder.pool)
        executor.browsing.supervisor.attach(spawner)
        await self._bury(self._set_right(spawner, early))
        await self._end_unwatched()

    def _set_right(self, spawner: Spawner, early: dict[str, Exited]) -> list[Burial]:
        """Do what the planner says of each running task; returns those whose tree must be killed first."""
        executor = self._executor
        over: list[Burial] = []
        for task in [task for task in executor.running.values() if task.is_due]:
            is_browser = isinstance(task.spec, BrowserRun)
            # The spawner writes none of a browser task; its user can.
            record = None if is_browser else spawn.read_exit(task.folder, task.key, executor.boot_id)
            told = early.get(task.key)
            seen = told or record
            evidence = Evidence(
                boot_id=executor.boot_id,
                has_exit=seen is not None,
                exit_code=None if seen is None else seen.exit_code,
                signal=None if seen is None else seen.signal,
                is_alive=task.key in spawner.running,
                # A browser task's folder is made just before it is handed over.
                was_started=task.folder.exists()
                if is_browser
                else (task.folder / "stdout").exists() or (task.folder / "started").exists(),
                stopped_in_order=self._clean_stop == task.boot_id,
            )
            found = recover(task.as_running(), evidence)
            log.info("a task was running", extra={"task": task.id, "attempt": task.attempt, "is": found.verdict.value})
            match found.verdict:
                case Verdict.RECORD if found.ending is not None:
                    usage = None if seen is None else Usage(cpu_ms=seen.usage.cpu_ms, max_rss_kb=seen.usage.max_rss_kb)
                    ended_at_ms = None if record is None else round(record.ended_at * 1000)
                    # The spawner that saw its end may be dead, and what the task left behind alive.
                    over.append(Burial(task, found.ending, usage, ended_at_ms))
                case Verdict.LOST if found.ending is not None:
                    if is_browser:
                        # Its profile may still be on the way from the disk: it must not begin beside its next attempt.
                        executor.browsing.lost(task)
                    over.append(Burial(task, found.ending))
                case Verdict.ADOPT:
                    task.is_followed = True
                    executor.started(task, spawner.running[task.key])
                    if task.intent is not None:
                        executor.terminate(task)
                case Verdict.START:
                    executor.spawn(task, task.attempt)
                case _:
                    raise AssertionError(found)
        executor.fill()
        return over

    async def _bury(self, over: list[Burial]) -> None:
        """End what is left of the trees of tasks that are over, then record what became of them."""
        executor = self._executor
        await self._end_runners()
        await asyncio.gather(*(self._kill_leftovers(burial.task) for burial in over))
        batch = executor.new_batch()
        for burial in over:
            if executor.running.get(burial.task.key) is burial.task:
                executor.finish(batch, burial.task, burial.ending, burial.usage, burial.ended_at_ms)
        batch.commit()
        executor.fill()

    async def _end_runners(self) -> None:
        """End browsers whose daemon or spawner is gone: none of their tasks may go on beside its next attempt."""
        ours = self._executor.browsing.supervisor.keys
        for folder in [folder for folder in self._folder.runners.iterdir() if folder.name not in ours]:
            await self._kill(folder.name, folder)
            await asyncio.to_thread(remove_tree, folder)
        for temporary in [each for each in self._folder.browser_temporary.iterdir() if each.name not in ours]:
            await asyncio.to_thread(remove_tree, temporary)

    async def _kill_leftovers(self, task: LiveTask) -> None:
        # A browser task has no processes but its runner's; what its folder says of others is not to be believed.
        if task.boot_id == self._executor.boot_id and not isinstance(task.spec, BrowserRun):
            await self._kill(task.folder.name)

    async def _end_unwatched(self) -> None:
        """End what is left of attempts that were over before their spawner was lost."""
        outcomes = self._executor.outcomes
        unwatched, outcomes.unwatched = outcomes.unwatched, {}
        for key, folder in unwatched.items():
            await self._kill(key)
            if folder is not None and key not in outcomes.keeping:
                discard(folder)

    async def _kill(self, key: str, folder: Path | None = None) -> None:
        spawner = self._executor.spawner
        spare_pid = 0 if spawner is None else spawner.pid
        folder = folder or self._folder.attempts / key
        try:
            killed = await asyncio.to_thread(spawn.kill_leftovers, folder / "started", key, spare_pid)
        except SpawnerError as error:
            log.error(
                "a task left processes that do not end", extra={"key": key, "error": str(error), "hint": error.hint}
            )
        else:
            if killed:
                log.warning("processes of a lost task were killed", extra={"key": key, "processes": killed})

    async def _sweep(self) -> None:
        """Remove what no task owns: trees that run, and the folders of attempts."""
        executor = self._executor
        spawner = executor.spawner
        # Those whose outcome is not durable yet have theirs still.
        owned = {task.key for task in executor.tasks.values()}
        folders = [folder for folder in self._folder.attempts.iterdir() if folder.name not in owned]
        alive = {} if spawner is None else dict(spawner.running)
        for key in alive.keys() - executor.running.keys() - executor.browsing.supervisor.keys:
            log.warning("a process that no task owns is killed", extra={"key": key})
            if spawner is not None:
                spawner.kill(key)
        for folder in folders:
            record = spawn.read_started(folder) if _is_own(folder) else None
            is_ours = record is not None and record.boot_id == executor.boot_id
            if is_ours and folder.name not in alive:
                await self._kill(folder.name)
            remove_tree(folder)
        for key in [key for key in spawn.living_keys() if self._is_stray(key)]:
            await self._kill(key)

    def _is_stray(self, key: str) -> bool:
        """Whether it is an attempt of ours that is over."""
        task_id = key.rpartition(".")[0]
        return task_id not in self._executor.tasks and self._journal.known_digest(task_id) is not None


def _is_own(folder: Path) -> bool:
    """Whether nobody else can write there: the folder of a browser task is its user's, and one may go meanwhile."""
    try:
        return folder.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False

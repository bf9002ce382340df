"""Records how tasks ended: the outcome with its output, who waits for it, and what becomes of the attempt's folder."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from appliance import output, spool
from appliance.artifacts import ArtifactStore, Found, Taken
from appliance.batch import Batch, task_event
from appliance.folder import discard
from appliance.journal import Journal
from appliance.live import Finished, LiveTask, now_ms
from appliance.planner import Ending
from appliance.pool import FolderPool
from appliance.spawn import read_started
from cloudsync.messages import ENTRY_LIMIT_BYTES, TaskEvent, encode_entry
from cloudsync.spec import BashExec, Outcome, Output, Usage
from cloudsync.task import TaskState

log = logging.getLogger(__name__)

# What two whole outputs take in an outcome that names them, with room to spare.
ARTIFACTS_BYTES: Final = 1024
# How long a stop waits for files that are being taken in.
CLOSE_S: Final = 5.0


class Outcomes:
    """`on_settled` is called with each task whose outcome is durable, before anybody hears of it."""

    def __init__(
        self,
        journal: Journal,
        pool: FolderPool,
        artifacts: ArtifactStore,
        new_batch: Callable[[], Batch],
        spool_limit_bytes: int,
        on_settled: Callable[[LiveTask], None],
    ) -> None:
        self.pool = pool
        self.unwatched: dict[str, Path | None] = {}
        """Attempts that were over when their spawner was lost, with their folders: something of them may live."""
        self.keeping: dict[str, asyncio.Task[None]] = {}
        """Attempts that are over and whose files are being taken in, before their outcome is journaled."""
        self._journal = journal
        self._artifacts = artifacts
        self._new_batch = new_batch
        self._spool_limit_bytes = spool_limit_bytes
        self._on_settled = on_settled
        self._waiters: dict[str, list[asyncio.Future[Finished]]] = {}

    def record(
        self,
        batch: Batch,
        task: LiveTask,
        ending: Ending,
        usage: Usage | None,
        ended_at_ms: int | None = None,
        *,
        result: dict[str, Any] | None = None,
        left: Sequence[Found] = (),
    ) -> None:
        """Any state -> a final one, in this batch; or, where it left files, in one after they were taken in."""
        at_ms = now_ms() if ended_at_ms is None else ended_at_ms
        outcome = Outcome(
            exit_code=ending.exit_code,
            error=ending.error,
            result=result,
            usage=usage,
            accepted_at_ms=task.accepted_at_ms,
            started_at_ms=task.started_at_ms,
            ended_at_ms=at_ms,
        )
        found = list(left)
        event = task_event(task, ending.state, at_ms, outcome)
        # A browser task writes no output, and its user can put anything under those names into its folder.
        has_output = isinstance(task.spec, BashExec) and task.attempt > 0
        if has_output and (ending.exit_code is not None or _has_started(task)):
            event = _with_output(event, outcome, task)
            found += self._whole_outputs(event.outcome, task)
        if not found:
            self._enter(batch, task, event, Taken())
            return
        keeping = asyncio.get_running_loop().create_task(self._keep(task, event, found))
        self.keeping[task.key] = keeping
        keeping.add_done_callback(partial(self._kept, task.key))

    def _whole_outputs(self, outcome: Outcome | None, task: LiveTask) -> list[Found]:
        """The spools of the streams that did not fit into the outcome."""
        streams = () if outcome is None else (("stdout", outcome.stdout), ("stderr", outcome.stderr))
        return [
            Found(f"{name}.txt", task.folder / name, spool_limit_bytes=self._spool_limit_bytes)
            for name, output in streams
            if output.cut_bytes
        ]

    async def _keep(self, task: LiveTask, event: TaskEvent, found: Sequence[Found]) -> None:
        try:
            taken = await self._artifacts.take_in(task.folder, found)
        except Exception as error:  # the task has ended, and says so whatever becomes of its files
            log.error("what a task left is not kept", extra={"task": task.id}, exc_info=error)
            taken = Taken()
        batch = self._new_batch()
        self._enter(batch, task, event, taken)
        batch.commit()

    def _kept(self, key: str, done: "asyncio.Task[None]") -> None:
        del self.keeping[key]
        if not done.cancelled():
            done.result()

    async def close(self) -> None:
        """Journal what is being taken in; what does not come in time is found again by the next start."""
        if self.keeping:
            _, late = await asyncio.wait(self.keeping.values(), timeout=CLOSE_S)
            self._artifacts.stop()
            for keeping in late:
                keeping.cancel()

    def _enter(self, batch: Batch, task: LiveTask, event: TaskEvent, taken: Taken) -> None:
        outcome = event.outcome or Outcome()
        if taken.artifacts:
            outcome = outcome.model_copy(update={"artifacts": taken.artifacts})
            event = event.model_copy(update={"outcome": outcome})
        task.state = event.state
        seq = batch.event(event)
        batch.end(task, outcome, event.state, seq)
        self._artifacts.enter(batch, task.id, taken)
        batch.then(partial(self._settle, task, event))

    def _settle(self, task: LiveTask, event: TaskEvent) -> None:
        """The outcome is durable: whoever waits hears of it, and its folder goes."""
        self._on_settled(task)
        for waiter in self._waiters.pop(task.id, ()):
            if not waiter.done():
                waiter.set_result(Finished(task.id, event.state, event.outcome or Outcome()))
        has_run = task.attempt > 0
        if has_run and task.key not in self.unwatched and (task.stdin or not task.is_followed):
            asyncio.get_running_loop().call_soon(discard, task.folder)  # after who waits was told
        if task.is_followed:
            outcome = event.outcome or Outcome()
            has_exit = outcome.exit_code is not None
            written_bytes = outcome.stdout.total_bytes + outcome.stderr.total_bytes if has_exit else None
            self.pool.settle(task.key, None if task.stdin else task.folder, written_bytes)

    async def wait(self, task_id: str) -> Finished:
        """The end of a task that is in hand."""
        future: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(task_id, []).append(future)
        return await future

    def find(self, task_id: str) -> Finished | None:
        """The end of a task as the journal has it; None where the id is not known."""
        found = self._journal.outcome(task_id)
        if found is None:
            return None
        state, outcome = found
        return Finished(task_id, TaskState(state), Outcome.model_validate_json(outcome or "{}"))


def _has_started(task: LiveTask) -> bool:
    """Whether what lies in its folder is its own: it may have got one with the output of another task."""
    record = read_started(task.folder)
    return record is not None and record.key in {task.key, None}


def _with_output(event: TaskEvent, outcome: Outcome, task: LiveTask) -> TaskEvent:
    """The event with as much of the task's output as an entry may carry."""
    stdout = spool.read_ends(f"{task.folder}/stdout")
    stderr = spool.read_ends(f"{task.folder}/stderr")
    if stdout.total_bytes + stderr.total_bytes <= output.SAFE_BYTES:
        out, error = output.fit(stdout, stderr, 0)
    else:
        empty = output.encoded_bytes(Output())
        budget = ENTRY_LIMIT_BYTES - len(encode_entry(event).encode()) + 2 * empty
        out, error = output.fit(stdout, stderr, budget)
        if out.cut_bytes or error.cut_bytes:
            # Room to name the whole outputs, which are kept beside it.
            out, error = output.fit(stdout, stderr, budget - ARTIFACTS_BYTES)
    return event.model_copy(update={"outcome": outcome.model_copy(update={"stdout": out, "stderr": error})})

"""Records how tasks ended: the outcome with its output, who waits for it, and what becomes of the attempt's folder."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance import kept, output, spool
from appliance.batch import Batch, task_event
from appliance.journal import Journal
from appliance.live import Finished, LiveTask, now_ms
from appliance.planner import Ending
from appliance.pool import FolderPool
from appliance.spawn import read_started
from cloudsync.messages import ENTRY_LIMIT_BYTES, TaskEvent, encode_entry
from cloudsync.spec import Outcome, Output, Usage
from cloudsync.task import TaskState


class Outcomes:
    """`on_settled` is called with each task whose outcome is durable, before anybody hears of it."""

    def __init__(
        self, journal: Journal, pool: FolderPool, spools: kept.KeptSpools, on_settled: Callable[[LiveTask], None]
    ) -> None:
        self.pool = pool
        self.kept = spools
        self.unwatched: dict[str, Path | None] = {}
        """Attempts that were over when their spawner was lost, with their folders: something of them may live."""
        self._journal = journal
        self._on_settled = on_settled
        self._waiters: dict[str, list[asyncio.Future[Finished]]] = {}

    def record(
        self, batch: Batch, task: LiveTask, ending: Ending, usage: Usage | None, ended_at_ms: int | None = None
    ) -> None:
        """Any state -> a final one, in this batch."""
        at_ms = now_ms() if ended_at_ms is None else ended_at_ms
        has_run = task.attempt > 0
        outcome = Outcome(
            exit_code=ending.exit_code,
            error=ending.error,
            usage=usage,
            accepted_at_ms=task.accepted_at_ms,
            started_at_ms=task.started_at_ms,
            ended_at_ms=at_ms,
        )
        is_cut = False
        event = task_event(task, ending.state, at_ms, outcome)
        if has_run and (ending.exit_code is not None or _has_started(task)):
            event, is_cut = _with_output(event, outcome, task)
        task.state = ending.state
        seq = batch.event(event)
        batch.end(task, outcome, ending.state, seq)
        batch.then(partial(self._settle, task, event, is_cut, has_run))

    def _settle(self, task: LiveTask, event: TaskEvent, is_cut: bool, has_run: bool) -> None:
        """The outcome is durable: whoever waits hears of it, and its folder goes."""
        self._on_settled(task)
        for waiter in self._waiters.pop(task.id, ()):
            if not waiter.done():
                waiter.set_result(Finished(task.id, event.state, event.outcome or Outcome()))
        if is_cut:
            self.kept.keep(task.folder)
        elif has_run and task.key not in self.unwatched and (task.stdin or not task.is_followed):
            asyncio.get_running_loop().call_soon(kept.discard, task.folder)  # after who waits was told
        if task.is_followed:
            self.pool.settle(task.key, None if is_cut or task.stdin else task.folder)

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
    return record is not None and record.key == task.key


def _with_output(event: TaskEvent, outcome: Outcome, task: LiveTask) -> tuple[TaskEvent, bool]:
    """The event with as much of the task's output as an entry may carry, and whether some had to be left out."""
    stdout = spool.read_ends(f"{task.folder}/stdout")
    stderr = spool.read_ends(f"{task.folder}/stderr")
    if stdout.total_bytes + stderr.total_bytes <= output.SAFE_BYTES:
        budget = 0
    else:
        empty = output.encoded_bytes(Output())
        budget = ENTRY_LIMIT_BYTES - len(encode_entry(event).encode()) + 2 * empty
    out, error = output.fit(stdout, stderr, budget)
    full = outcome.model_copy(update={"stdout": out, "stderr": error})
    is_cut = bool(out.cut_bytes or error.cut_bytes)
    return event.model_copy(update={"outcome": full}), is_cut

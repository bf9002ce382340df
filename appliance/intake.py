"""Takes tasks on: the hub's commands in batches, and those that are made on the box."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from appliance.batch import Batch, new_event_id
from appliance.errors import IdReused, TaskRefused
from appliance.executor import Executor
from appliance.folder import DataFolder, free_bytes
from appliance.journal import SET_FACT, Journal
from appliance.live import LiveTask, now_ms
from appliance.planner import Accept, CancelTask, Flag, Ignore, Refuse, plan_command
from cloudsync.ids import ordered_id
from cloudsync.messages import ENTRY_LIMIT_BYTES, FlaggedEvent, TaskEvent
from cloudsync.spec import ErrorBody, Outcome, TaskSpec, encode_spec, spec_digest
from cloudsync.task import Origin

# How long what was seen of the disk is good.
FREE_FOR_S: Final = 1.0
# A task that is made here is told to the hub in one entry, with some things beside it.
SPEC_LIMIT_BYTES: Final = ENTRY_LIMIT_BYTES - 4096


class Intake:
    """Accepts or refuses, and hands what is accepted to the executor. All methods are called on the loop's thread."""

    def __init__(self, executor: Executor, folder: DataFolder, journal: Journal) -> None:
        self._executor = executor
        self._folder = folder
        self._journal = journal
        self._refused: dict[str, str] = {}
        self._free, self._free_until = 0, 0.0

    def apply(self, from_seq: int, entries: Sequence[Any], done: Callable[[int], None]) -> None:
        """Apply a batch of commands in one commit; `done` gets the seq of the last one when it is durable."""
        batch = self._executor.new_batch()
        now = now_ms()
        last = from_seq + len(entries) - 1
        batch.then(partial(done, last))
        new: list[LiveTask] = []
        refusal = self.refusal()
        for seq, entry in enumerate(entries, from_seq):
            match plan_command(entry, self._known_digest, refusal=refusal):
                case Accept(run, spec, spec_json):
                    task = LiveTask(
                        run.task_id, spec, spec_json, Origin.HUB, run.created_by, run.created_at_ms, accepted_at_ms=now
                    )
                    self._executor.take_on(task, new)
                case Refuse() as refused:
                    self._refuse(batch, refused, now)
                case CancelTask(task_id, by):
                    self._executor.cancel(task_id, by, batch, new)
                case Flag(message):
                    flag = FlaggedEvent(id=new_event_id(), at_ms=now, command_seq=seq, message=message)
                    batch.event(flag)
                case Ignore():
                    pass
        self._executor.enter(batch, new, now)
        batch.add((SET_FACT, ("command_seq", last)))
        batch.commit()

    async def submit(
        self, spec: TaskSpec, *, created_by: str = "", origin: Origin = Origin.LOCAL, task_id: str | None = None
    ) -> str:
        """Take a task on that is made here; its id, when it is durable.

        `TaskRefused` where it is not accepted; `IdReused` where `task_id` is given and known, and durable by then.
        """
        spec_json = encode_spec(spec)
        if task_id is not None and (known := self._known_digest(task_id)) is not None:
            await self._journal.committed([])
            raise IdReused(task_id, is_same=known == spec_digest(spec_json))
        refusal = self.refusal()
        if self._executor.is_closing:
            hint = "Send it again when the daemon is back."
            refusal = ErrorBody(code="stopping", message="the box's daemon is being stopped", hint=hint)
        if refusal is not None:
            raise TaskRefused(refusal)
        now = now_ms()
        if len(spec_json.encode()) > SPEC_LIMIT_BYTES:
            message = f"the task has {len(spec_json.encode())} bytes, {SPEC_LIMIT_BYTES} are allowed"
            hint = "Put what is long into a file on the box."
            raise TaskRefused(ErrorBody(code="too_large", message=message, hint=hint))
        task_id = task_id or ordered_id(now, os.urandom(8))
        task = LiveTask(task_id, spec, spec_json, origin, created_by, now, accepted_at_ms=now)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch = self._executor.new_batch()
        new: list[LiveTask] = []
        self._executor.take_on(task, new)
        self._executor.enter(batch, new, now)
        batch.then(lambda: None if durable.done() else durable.set_result(None))
        batch.commit()
        await durable
        return task.id

    def refusal(self) -> ErrorBody | None:
        """Why no task is accepted now."""
        free, floor_bytes = self._free_bytes(), self._executor.limits.disk_floor_bytes
        if self._journal.is_held or free < floor_bytes:
            message = f"the box's disk is full: {free // 1024**2} MiB are free"
            hint = f"Free at least {floor_bytes // 1024**2} MiB on it; it then works again by itself."
            return ErrorBody(code="disk_full", message=message, hint=hint)
        return None

    def _free_bytes(self) -> int:
        """The free space of the disk, looked up at most once a second."""
        now = time.monotonic()
        if now >= self._free_until:
            self._free, self._free_until = free_bytes(self._folder.path), now + FREE_FOR_S
        return self._free

    def _refuse(self, batch: Batch, refused: Refuse, now: int) -> None:
        event = TaskEvent(
            id=new_event_id(),
            task_id=refused.task_id,
            state=refused.state,
            at_ms=now,
            outcome=Outcome(error=refused.error, ended_at_ms=now),
        )
        seq = batch.event(event)
        if not refused.is_known:
            self._refused[refused.task_id] = spec_digest(refused.spec_json)
            batch.insert_refused(refused, now, seq)
            batch.then(partial(self._forget_refused, refused.task_id))

    def _forget_refused(self, task_id: str) -> None:
        del self._refused[task_id]  # from here on the journal knows it

    def _known_digest(self, task_id: str) -> str | None:
        task = self._executor.tasks.get(task_id)
        if task is not None:
            return spec_digest(task.spec_json)
        return self._refused.get(task_id) or self._journal.known_digest(task_id)

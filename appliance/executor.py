"""Runs the tasks of a box: takes them on, starts them, ends them, and journals what became of each.

The order that everything here keeps: a fact is durable before anything is done about it. A task is `running` in the
journal before its process is asked for; the reason to end it is there before the first signal; its outcome is there
before anybody hears of it. So whatever is killed, the next start finds in the journal what may have happened, and
`recovery` finds out what did.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from appliance import bash, kept, output, spool
from appliance.batch import Batch, new_event_id, task_event
from appliance.errors import TaskRefused
from appliance.folder import DataFolder, free_bytes
from appliance.journal import SET_FACT, Journal
from appliance.live import Finished, LiveTask, boot_s, now_ms
from appliance.outbox import Outbox
from appliance.planner import (
    Accept,
    CancelTask,
    Ending,
    Flag,
    Ignore,
    Intent,
    Refuse,
    intended,
    plan_command,
    plan_end,
    spawn_failed,
)
from appliance.pool import FolderPool
from appliance.spawn import Event, Exited, Gone, Spawner, SpawnerError, SpawnFailed, Started, read_started
from appliance.watch import Offer, Watch
from cloudsync.ids import ordered_id
from cloudsync.messages import ENTRY_LIMIT_BYTES, FlaggedEvent, Stream, TaskEvent, encode_entry
from cloudsync.spec import ErrorBody, Outcome, Output, TaskSpec, Usage, encode_spec, spec_digest
from cloudsync.task import Origin, TaskState

log = logging.getLogger(__name__)

# Between SIGTERM and SIGKILL: what a program that flushes its files needs.
GRACE_S: Final = 5.0
# How long a stop waits for the last tree beyond the grace.
STOP_LIMIT_S: Final = GRACE_S + 12.0
# How long what was seen of the disk is good.
FREE_FOR_S: Final = 1.0
# A task that is made here is told to the hub in one entry, with some things beside it.
SPEC_LIMIT_BYTES: Final = ENTRY_LIMIT_BYTES - 4096
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a box takes on."""

    concurrency: int = 8
    spool_limit_bytes: int = 64 * 1024 * 1024
    kept_bytes: int = 1024**3
    keep_days: int = 7
    # Below this no task is accepted: what is accepted must be able to end, and to be reported.
    disk_floor_bytes: int = 64 * 1024 * 1024


class Executor:
    """The tasks in hand. All methods are called on the loop's thread."""

    def __init__(
        self,
        folder: DataFolder,
        journal: Journal,
        outbox: Outbox,
        limits: Limits,
        user: bash.TaskUser,
        boot_id: str,
    ) -> None:
        self.limits = limits
        self.boot_id = boot_id
        self.tasks: dict[str, LiveTask] = {}
        """Accepted or running, by id."""
        self.running: dict[str, LiveTask] = {}
        """Those that are running, by the key of their attempt."""
        self.waiting: deque[LiveTask] = deque()
        self.hub_work_held = False
        """The journal is an older copy of what the hub has: hub-made tasks are not started."""
        self.spawner: Spawner | None = None
        self.on_spawner_lost: Callable[[], None] = lambda: None
        self.early_exits: dict[str, Exited] | None = None
        """While recovery is under way: ends that the spawner told before the journal was asked."""
        self.watch = Watch(limits.spool_limit_bytes, self._time_is_over)
        self.pool = FolderPool(folder.pool)
        self.unwatched: dict[str, Path | None] = {}
        """Attempts that were over when their spawner was lost, with their folders: something of them may live."""
        self.kept = kept.KeptSpools(folder.kept, limits.kept_bytes, limits.keep_days)
        self._folder = folder
        self._journal = journal
        self.outbox = outbox
        self._user = user
        self._refused: dict[str, str] = {}
        self._waiters: dict[str, list[asyncio.Future[Finished]]] = {}
        self._drained: asyncio.Event = asyncio.Event()
        self._is_closing = False
        self._free, self._free_until = 0, 0.0
        self._is_held = False

    # Taking tasks on

    def apply(self, from_seq: int, entries: Sequence[Any], done: Callable[[int], None]) -> None:
        """Apply a batch of commands in one commit; `done` gets the seq of the last one when it is durable."""
        batch = self.new_batch()
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
                    self._take_on(task, new)
                case Refuse() as refused:
                    self._refuse(batch, refused, now)
                case CancelTask(task_id, by):
                    self.cancel(task_id, by, batch, new)
                case Flag(message):
                    flag = FlaggedEvent(id=new_event_id(), at_ms=now, command_seq=seq, message=message)
                    batch.event(flag)
                case Ignore():
                    pass
        self._enter(batch, new, now)
        batch.add((SET_FACT, ("command_seq", last)))
        batch.commit()

    async def submit(self, spec: TaskSpec, *, created_by: str = "", origin: Origin = Origin.LOCAL) -> str:
        """Take a task on that is made here; its id, when it is durable. `TaskRefused` where it is not accepted."""
        refusal = self.refusal()
        if self._is_closing:
            hint = "Send it again when the daemon is back."
            refusal = ErrorBody(code="stopping", message="the box's daemon is being stopped", hint=hint)
        if refusal is not None:
            raise TaskRefused(refusal)
        now = now_ms()
        spec_json = encode_spec(spec)
        if len(spec_json.encode()) > SPEC_LIMIT_BYTES:
            message = f"the task has {len(spec_json.encode())} bytes, {SPEC_LIMIT_BYTES} are allowed"
            hint = "Put what is long into a file on the box."
            raise TaskRefused(ErrorBody(code="too_large", message=message, hint=hint))
        task = LiveTask(ordered_id(now, os.urandom(8)), spec, spec_json, origin, created_by, now, accepted_at_ms=now)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch = self.new_batch()
        new: list[LiveTask] = []
        self._take_on(task, new)
        self._enter(batch, new, now)
        batch.then(lambda: None if durable.done() else durable.set_result(None))
        batch.commit()
        await durable
        return task.id

    def refusal(self) -> ErrorBody | None:
        """Why no task is accepted now."""
        free = self._free_bytes()
        if self._journal.is_held or free < self.limits.disk_floor_bytes:
            message = f"the box's disk is full: {free // 1024**2} MiB are free"
            hint = f"Free at least {self.limits.disk_floor_bytes // 1024**2} MiB on it; it then works again by itself."
            return ErrorBody(code="disk_full", message=message, hint=hint)
        return None

    def _free_bytes(self) -> int:
        """The free space of the disk, looked up at most once a second."""
        now = time.monotonic()
        if now >= self._free_until:
            self._free, self._free_until = free_bytes(self._folder.path), now + FREE_FOR_S
        return self._free

    def new_batch(self) -> Batch:
        """A commit to fill."""
        return Batch(self._journal, self.outbox)

    def _take_on(self, task: LiveTask, new: list[LiveTask]) -> None:
        self.tasks[task.id] = task
        self.waiting.append(task)
        new.append(task)

    def _enter(self, batch: Batch, new: list[LiveTask], now: int) -> None:
        """Start what has a slot, and enter the new tasks as what they are by then."""
        self._fill(batch, new)
        for task in new:
            if task.state is TaskState.ACCEPTED:
                batch.event(task_event(task, TaskState.ACCEPTED, now, made_here=task.made_here()))
                batch.insert(task)

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
        task = self.tasks.get(task_id)
        if task is not None:
            return spec_digest(task.spec_json)
        return self._refused.get(task_id) or self._journal.known_digest(task_id)

    # Starting

    def fill(self) -> None:
        """Start what waits while there are slots."""
        batch = self.new_batch()
        self._fill(batch, ())
        batch.commit()

    def _fill(self, batch: Batch, new: Sequence[LiveTask]) -> None:
        held: list[LiveTask] = []
        if self._is_closing or self._is_held:
            return
        while self.waiting and len(self.running) < self.limits.concurrency:
            task = self.waiting.popleft()
            if self.hub_work_held and task.origin is Origin.HUB:
                held.append(task)
            else:
                self.begin(batch, task, is_new=task in new)
        self.waiting.extendleft(reversed(held))

    def begin(self, batch: Batch, task: LiveTask, *, is_new: bool = False) -> None:
        """accepted, running -> running: the next attempt, whose process is started when this is durable."""
        now = now_ms()
        task.state = TaskState.RUNNING
        task.attempt += 1
        task.boot_id = self.boot_id
        task.folder = self._folder.attempt(task.id, task.attempt)
        task.started_at_ms, task.started_boot_s = now, None
        task.is_due = task.is_followed = False
        self.running[task.key] = task
        batch.event(task_event(task, TaskState.RUNNING, now, made_here=task.made_here() if is_new else None))
        if is_new:
            batch.insert(task)
        else:
            batch.run(task)
        batch.then(partial(self.spawn, task, task.attempt))

    def spawn(self, task: LiveTask, attempt: int) -> None:
        """Ask for the process; without a spawner, recovery asks the next one."""
        if task.attempt != attempt:
            return
        task.is_due = True
        if self.spawner is None:
            return
        try:
            reuse = None if task.spec.stdin else self.pool.take()
            self.spawner.spawn(bash.request(task.id, attempt, task.spec, task.folder, self._user, reuse))
            task.is_followed = True
        except OSError as error:
            self._ended(task, spawn_failed(f"cannot write the task's standard input: {error.strerror}"), None)
        except SpawnerError:
            log.debug("a task waits for the next spawner", extra={"task": task.id})

    # Ending

    def cancel(self, task_id: str, by: str, batch: Batch | None = None, new: list[LiveTask] | None = None) -> None:
        """End a task whatever it is doing; nothing where it is over or not known. Joins `batch` where one is given."""
        task = self.tasks.get(task_id)
        if task is None or task.intent is not None:
            return
        own = self.new_batch() if batch is None else batch
        if task.state is TaskState.ACCEPTED:
            self.waiting.remove(task)
            if new is not None and task in new:
                own.insert(task)
                new.remove(task)
            error = ErrorBody(code="cancelled", message=f"cancelled{f' by {by}' if by else ''} before it started")
            self._finish(own, task, Ending(TaskState.CANCELLED, None, error), None)
        elif task.key in self.running:
            self._intend(own, task, Intent.CANCEL, by)
        if batch is None:
            own.commit()

    def _time_is_over(self, task: LiveTask) -> None:
        if task.intent is None:
            batch = self.new_batch()
            self._intend(batch, task, Intent.TIMEOUT, "")
            batch.commit()

    def _intend(self, batch: Batch, task: LiveTask, intent: Intent, by: str) -> None:
        task.intent, task.intent_by = intent, by
        batch.intend(task)
        batch.then(partial(self.terminate, task))

    def terminate(self, task: LiveTask) -> None:
        """Send the tree of a task the signals that end it; its intent is durable."""
        if self.spawner is not None and task.key in self.running:
            try:
                grace_s = 0.0 if task.intent is Intent.BEGIN_ANEW else GRACE_S
                self.spawner.terminate(task.key, grace_s)
            except SpawnerError:
                log.debug("a task is ended by the next spawner", extra={"task": task.id})

    def on_event(self, event: Event) -> None:
        """The spawner reports."""
        task = self.running.get(event.key)
        match event:
            case Exited():
                if self.early_exits is not None:
                    self.early_exits[event.key] = event
                elif task is not None:
                    intent = task.intent
                    ending = plan_end(event.exit_code, event.signal, intent, task.intent_by, task.spec.timeout_s)
                    usage = event.usage
                    self._ended(task, ending, Usage(cpu_ms=usage.cpu_ms, max_rss_kb=usage.max_rss_kb))
            case Started():
                if task is not None:
                    self.started(task, event)
            case Gone():
                self.pool.gone(event.key)
            case SpawnFailed():
                self.pool.gone(event.key)
                if task is not None and self.early_exits is None:
                    intent = task.intent
                    failed = spawn_failed(event.error)
                    self._ended(task, failed if intent is None else intended(intent, task.intent_by, 0.0), None)

    def started(self, task: LiveTask, event: Started) -> None:
        """The task's process exists since `event.start_time`."""
        task.started_boot_s = event.start_time / TICKS_PER_S
        # The kernel counts in ticks of 10 ms: rounded down, a start would come before its order.
        started_at_ms = now_ms() - max(0, round((boot_s() - task.started_boot_s) * 1000))
        task.started_at_ms = max(task.started_at_ms or 0, started_at_ms)
        self.watch.add(task)

    def on_lost(self) -> None:
        """The spawner's connection broke: recovery brings the next one."""
        self.unwatched |= self.pool.clear()
        for task in self.tasks.values():
            if task.is_followed and task.key not in self.running:  # over, its outcome on its way to the disk
                self.unwatched[task.key] = task.folder
            task.is_followed = False
        self.spawner = None
        self.on_spawner_lost()

    def _ended(self, task: LiveTask, ending: Ending, usage: Usage | None) -> None:
        batch = self.new_batch()
        self.finish(batch, task, ending, usage)
        self._fill(batch, ())
        batch.commit()

    def finish(
        self, batch: Batch, task: LiveTask, ending: Ending, usage: Usage | None, ended_at_ms: int | None = None
    ) -> None:
        """running -> a final state, or the next attempt where the ending says so."""
        self.watch.remove(task)
        del self.running[task.key]
        if ending.retry and not self._is_closing and not self._is_held:
            batch.then(partial(kept.discard, task.folder))
            self.begin(batch, task)
        else:
            self._finish(batch, task, ending, usage, ended_at_ms)

    def _finish(
        self, batch: Batch, task: LiveTask, ending: Ending, usage: Usage | None, ended_at_ms: int | None = None
    ) -> None:
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
        self.tasks.pop(task.id, None)
        for waiter in self._waiters.pop(task.id, ()):
            if not waiter.done():
                waiter.set_result(Finished(task.id, event.state, event.outcome or Outcome()))
        if is_cut:
            self.kept.keep(task.folder)
        elif has_run and task.key not in self.unwatched and (task.spec.stdin or not task.is_followed):
            asyncio.get_running_loop().call_soon(kept.discard, task.folder)  # after who waits was told
        if task.is_followed:
            self.pool.settle(task.key, None if is_cut or task.spec.stdin else task.folder)
        if self._is_drained():
            self._drained.set()

    def _is_drained(self) -> bool:
        """Nothing runs, and all outcomes are durable."""
        return not self.running and len(self.tasks) == len(self.waiting)

    # Waiting, following and stopping

    def follow(self, task_id: str, offsets: dict[Stream, int], offer: Offer) -> None:
        """Offer a task's output from these offsets on, while it runs; nothing where it is over."""
        if task_id in self.tasks:
            self.watch.follow(task_id, offsets, offer)

    async def wait(self, task_id: str) -> Finished | None:
        """The end of a task; None where the id is not known."""
        if task_id in self.tasks:
            future: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(task_id, []).append(future)
            return await future
        found = self._journal.outcome(task_id)
        if found is None:
            return None
        state, outcome = found
        return Finished(task_id, TaskState(state), Outcome.model_validate_json(outcome or "{}"))

    async def end_all(self, intent: Intent) -> None:
        """End all that runs, for this reason; returns when the outcomes are durable or STOP_LIMIT_S is over."""
        self._drained.clear()
        batch = self.new_batch()
        for task in self.running.values():
            if task.intent is None:
                self._intend(batch, task, intent, "")
        batch.commit()
        if not self._is_drained():
            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await self._drained.wait()
            except TimeoutError:
                log.warning("tasks do not end", extra={"tasks": [task.id for task in self.running.values()]})

    def interrupt_waiting(self) -> None:
        """accepted -> interrupted: the box begins a new incarnation."""
        batch = self.new_batch()
        for task in self.waiting:
            self._finish(batch, task, intended(Intent.BEGIN_ANEW, "", 0.0), None)
        self.waiting.clear()
        batch.commit()

    def hold(self) -> None:
        """Start and retry nothing until `release`."""
        self._is_held = True

    def release(self) -> None:
        """Start tasks again."""
        self._is_held = False
        self.fill()

    def close(self) -> None:
        """Start nothing more; what runs goes on under the spawner. What comes is accepted for the next daemon."""
        self._is_closing = True

    def disconnect(self) -> None:
        """Let the spawner go: it ends after its last task, unless a daemon comes back before."""
        self.watch.close()
        if self.spawner is not None:
            spawner, self.spawner = self.spawner, None
            try:
                spawner.retire()
            except SpawnerError:
                log.debug("the spawner is gone already")
            spawner.close()


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

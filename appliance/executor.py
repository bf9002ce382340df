"""Runs the tasks of a box: starts them, ends them, and journals what became of each.

The order that everything here keeps: a fact is durable before anything is done about it. A task is `running` in the
journal before its process is asked for; the reason to end it is there before the first signal; its outcome is there
before anybody hears of it. So whatever is killed, the next start finds in the journal what may have happened, and
`recovery` finds out what did.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from appliance import bash
from appliance.artifacts import ArtifactStore, Found
from appliance.batch import Batch, task_event
from appliance.browser.launcher import KEY_PREFIX
from appliance.browser.supervisor import BrowserLimits
from appliance.browsing import Browsing, outcome_of, placed
from appliance.folder import DataFolder, discard
from appliance.journal import Journal
from appliance.live import Finished, LiveTask, boot_s, now_ms
from appliance.outbox import Outbox
from appliance.outcomes import Outcomes
from appliance.planner import (
    Ending,
    Intent,
    intended,
    plan_end,
    spawn_failed,
)
from appliance.pool import FolderPool
from appliance.spawn import Event, Exited, Gone, Spawner, SpawnerError, SpawnFailed, Started
from appliance.waiting import Lane, Waiting
from appliance.watch import HUB, Offer, Watch
from cloudsync.messages import Stream
from cloudsync.spec import MAX_ATTEMPTS, BashExec, BrowserRun, ErrorBody, Usage
from cloudsync.task import TaskState

log = logging.getLogger(__name__)

# Between SIGTERM and SIGKILL: what a program that flushes its files needs.
GRACE_S: Final = 5.0
# How long a stop waits for the last tree beyond the grace.
STOP_LIMIT_S: Final = GRACE_S + 12.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a box takes on."""

    concurrency: int = 8
    spool_limit_bytes: int = 64 * 1024 * 1024
    artifact_bytes: int = 2 * 1024**3
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
        browser: BrowserLimits | None = None,
    ) -> None:
        self.limits = limits
        self.boot_id = boot_id
        self.tasks: dict[str, LiveTask] = {}
        """Accepted or running, by id."""
        self.running: dict[str, LiveTask] = {}
        """Those that are running, by the key of their attempt."""
        self.waiting = Waiting()
        self.hub_work_held = False
        """The journal is an older copy of what the hub has: hub-made tasks are not started."""
        self.spawner: Spawner | None = None
        self.on_spawner_lost: Callable[[], None] = lambda: None
        self.early_exits: dict[str, Exited] | None = None
        """While recovery is under way: ends that the spawner told before the journal was asked."""
        self.watch = Watch(limits.spool_limit_bytes, self._time_is_over)
        self.artifacts = ArtifactStore(
            folder.artifacts, journal, outbox, limits.artifact_bytes, limits.disk_floor_bytes
        )
        self.outcomes = Outcomes(
            journal, FolderPool(folder.pool), self.artifacts, self.new_batch, limits.spool_limit_bytes, self._settled
        )
        self.browsing = Browsing(
            folder, journal, self.watch, user, browser or BrowserLimits(), self._browser_ended, self.fill
        )
        self._folder = folder
        self._journal = journal
        self.outbox = outbox
        self.user = user
        self._drained: asyncio.Event = asyncio.Event()
        self.is_closing = False
        """No more tasks are taken on or started."""
        self._is_held = False

    def new_batch(self) -> Batch:
        """A commit to fill."""
        return Batch(self._journal, self.outbox)

    def take_on(self, task: LiveTask, new: list[LiveTask]) -> None:
        """Queue a task that is accepted, among the new ones of its batch."""
        self.tasks[task.id] = task
        self.waiting.append(task)
        new.append(task)

    def enter(self, batch: Batch, new: list[LiveTask], now: int) -> None:
        """Start what has a slot, and enter the new tasks as what they are by then."""
        self._fill(batch, new)
        for task in new:
            if task.state is TaskState.ACCEPTED:
                batch.event(task_event(task, TaskState.ACCEPTED, now, made_here=task.made_here()))
                batch.insert(task)

    # Starting

    def fill(self) -> None:
        """Start what waits while there are slots."""
        batch = self.new_batch()
        self._fill(batch, ())
        batch.commit()

    def _fill(self, batch: Batch, new: Sequence[LiveTask]) -> None:
        if self.is_closing or self._is_held:
            return
        while self.waiting and len(self.running) < self.limits.concurrency:
            task = self.waiting.next(self._may_start)
            if task is None:
                return
            self.begin(batch, task, is_new=task in new)

    def _may_start(self, lane: Lane) -> bool:
        if lane.is_hubs and self.hub_work_held:
            return False
        return not lane.is_browser or self.browsing.may_start(lane)

    def begin(self, batch: Batch, task: LiveTask, *, is_new: bool = False) -> None:
        """accepted, running -> running: the next attempt, whose process is started when this is durable."""
        now = now_ms()
        task.state = TaskState.RUNNING
        task.attempt += 1
        task.boot_id = self.boot_id
        task.folder = self._folder.attempt(task.id, task.attempt)
        task.started_at_ms, task.started_boot_s = now, None
        task.is_due = task.is_followed = False
        task.steps = {}
        self.take_up(task)
        batch.event(task_event(task, TaskState.RUNNING, now, made_here=task.made_here() if is_new else None))
        if is_new:
            batch.insert(task)
        else:
            batch.run(task)
        batch.then(partial(self.spawn, task, task.attempt))

    def take_up(self, task: LiveTask) -> None:
        """It runs, or was found running: it has a slot from now on."""
        self.running[task.key] = task
        if isinstance(task.spec, BrowserRun):
            self.browsing.takes(task)

    def spawn(self, task: LiveTask, attempt: int) -> None:
        """Ask for the process; without a spawner, recovery asks the next one."""
        if task.attempt != attempt:
            return
        task.is_due = True
        if self.spawner is None:
            return
        try:
            match task.spec:
                case BashExec() as spec:
                    reuse = None if spec.stdin else self.outcomes.pool.take()
                    self.spawner.spawn(bash.request(task.id, attempt, spec, task.folder, self.user, reuse))
                    task.is_followed = True
                case BrowserRun():
                    self.browsing.start(task)
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
            self.outcomes.record(own, task, Ending(TaskState.CANCELLED, None, error), None)
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
        if task.key not in self.running:
            return
        if isinstance(task.spec, BrowserRun):
            self.browsing.cancel(task)
        elif self.spawner is not None:
            try:
                grace_s = 0.0 if task.intent is Intent.BEGIN_ANEW else GRACE_S
                self.spawner.terminate(task.key, grace_s)
            except SpawnerError:
                log.debug("a task is ended by the next spawner", extra={"task": task.id})

    def on_event(self, event: Event) -> None:
        """The spawner reports."""
        if event.key.startswith(KEY_PREFIX):
            self.browsing.supervisor.on_event(event)
            return
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
                self.outcomes.pool.gone(event.key)
            case SpawnFailed():
                self.outcomes.pool.gone(event.key)
                if task is not None and self.early_exits is None:
                    intent = task.intent
                    failed = spawn_failed(event.error)
                    self._ended(task, failed if intent is None else intended(intent, task.intent_by, 0.0), None)

    def started(self, task: LiveTask, event: Started) -> None:
        """The attempt runs since `event.began_s`."""
        task.started_boot_s = event.began_s
        started_at_ms = now_ms() - max(0, round((boot_s() - task.started_boot_s) * 1000))
        task.started_at_ms = max(task.started_at_ms or 0, started_at_ms)
        self.watch.add(task)

    def on_lost(self) -> None:
        """The spawner's connection broke: recovery brings the next one."""
        self.outcomes.unwatched |= self.outcomes.pool.clear()
        self.browsing.supervisor.detach()
        for task in self.tasks.values():
            if task.is_followed and task.key not in self.running:  # over, its outcome on its way to the disk
                self.outcomes.unwatched[task.key] = task.folder
            task.is_followed = False
        self.spawner = None
        self.on_spawner_lost()

    def _ended(self, task: LiveTask, ending: Ending, usage: Usage | None) -> None:
        batch = self.new_batch()
        self.finish(batch, task, ending, usage)
        self._fill(batch, ())
        batch.commit()

    def _browser_ended(self, task: LiveTask, ending: Ending, left: Sequence[Found] = ()) -> None:
        if self.running.get(task.key) is not task:
            return  # recovery has found it lost meanwhile
        batch = self.new_batch()
        self.finish(batch, task, ending, None, left=left)
        self._fill(batch, ())
        batch.commit()

    def finish(
        self,
        batch: Batch,
        task: LiveTask,
        ending: Ending,
        usage: Usage | None,
        ended_at_ms: int | None = None,
        left: Sequence[Found] = (),
    ) -> None:
        """running -> a final state, or the next attempt where the ending says so."""
        self.watch.remove(task)
        del self.running[task.key]
        if isinstance(task.spec, BrowserRun):
            self.browsing.over(task)
        if ending.retry and not self.is_closing and not self._is_held:
            batch.then(partial(discard, task.folder))
            self.begin(batch, task)
        else:
            if isinstance(task.spec, BrowserRun):
                ending = placed(task, ending)
            result, whole = outcome_of(task, len(left))
            left = left if whole is None else [*left, whole]
            self.outcomes.record(batch, task, ending, usage, ended_at_ms, result=result, left=left)

    def _settled(self, task: LiveTask) -> None:
        self.tasks.pop(task.id, None)
        if isinstance(task.spec, BrowserRun) and task.attempt > 0:
            self.browsing.settled(task)
        if self._is_drained():
            self._drained.set()

    def _is_drained(self) -> bool:
        """Nothing runs, and all outcomes are durable."""
        return not self.running and len(self.tasks) == len(self.waiting)

    # Waiting, following and stopping

    def follow(self, task_id: str, offsets: dict[Stream, int], offer: Offer, who: object = HUB) -> None:
        """Offer a task's steps, and its output from these offsets on, while it runs; nothing where it is over."""
        if task_id in self.tasks:
            self.watch.follow(task_id, offsets, offer, who)

    async def wait(self, task_id: str) -> Finished | None:
        """The end of a task; None where the id is not known."""
        return await self.outcomes.wait(task_id) if task_id in self.tasks else self.outcomes.find(task_id)

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

    def interrupt_browsing(self) -> bool:
        """running -> interrupted: the browser was ended. Those that may be tried again are left to the next daemon."""
        batch = self.new_batch()
        over = [task for task in self.running.values() if isinstance(task.spec, BrowserRun) and not _may_retry(task)]
        for task in over:
            self.finish(batch, task, intended(task.intent or Intent.STOP, task.intent_by, task.spec.timeout_s), None)
        batch.commit()
        return bool(over)

    def interrupt_waiting(self) -> None:
        """accepted -> interrupted: the box begins a new incarnation."""
        batch = self.new_batch()
        for task in self.waiting:
            self.outcomes.record(batch, task, intended(Intent.BEGIN_ANEW, "", 0.0), None)
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
        self.is_closing = True

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


def _may_retry(task: LiveTask) -> bool:
    return task.spec.idempotent and task.intent is None and task.attempt < MAX_ATTEMPTS

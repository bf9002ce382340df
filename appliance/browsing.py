"""Browser tasks in the executor's hand: which may start, how an attempt is prepared, and what is journaled of it.

Steps are journaled as they end, so that an attempt that is cut off can say how far it came. Its files and the state for
its profile are durable before its outcome is; the profile takes the state when the outcome is durable.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from appliance.artifacts import Found
from appliance.bash import TaskUser
from appliance.browser import result
from appliance.browser.ending import End, EndState, decide
from appliance.browser.profiles import Loaded, Profiles
from appliance.browser.supervisor import BrowserLimits, Supervisor
from appliance.folder import DataFolder
from appliance.journal import ADD_STEP, Journal
from appliance.live import LiveTask, boot_s, browser_spec, now_ms
from appliance.planner import Ending, Intent
from appliance.waiting import Lane
from appliance.watch import Watch
from cloudsync.labels import RESULT
from cloudsync.messages import StepReport
from cloudsync.spec import BrowserRun, ErrorBody, StepResult
from cloudsync.task import TaskState

log = logging.getLogger(__name__)

STATE_FILE: Final = ".profile.json"
_CUT_OFF: Final = frozenset({TaskState.TIMED_OUT, TaskState.CANCELLED, TaskState.INTERRUPTED})
# How long a stop waits for a profile that is being saved.
CLOSE_S: Final = 2.0


class OnEnd(Protocol):
    """Who records how an attempt ended."""

    def __call__(self, task: LiveTask, ending: Ending, left: Sequence[Found] = ()) -> None:
        """running -> a final state, or the next attempt; with the files that it left."""


class Browsing:
    """The browser tasks of an executor. All methods are called on the loop's thread."""

    def __init__(
        self,
        folder: DataFolder,
        journal: Journal,
        watch: Watch,
        user: TaskUser,
        limits: BrowserLimits,
        on_end: OnEnd,
        on_free: Callable[[], None],
    ) -> None:
        self.supervisor = Supervisor(folder, user, limits, self)
        self.profiles = Profiles(folder.profiles)
        self._journal = journal
        self._watch = watch
        self._limits = limits
        self._on_end = on_end
        self._on_free = on_free
        self._keys: set[str] = set()
        """The attempts that run."""
        self._busy: dict[str, str] = {}
        self._work: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Settle what a cut left of profiles, and let runners connect. The journal knows its tasks by now."""
        self.profiles.sweep(self._has_succeeded)
        await self.supervisor.open()

    def _has_succeeded(self, task_id: str) -> bool:
        found = self._journal.outcome(task_id)
        return found is not None and found[0] == TaskState.SUCCEEDED

    # Slots

    def may_start(self, lane: Lane) -> bool:
        """Whether a browser task of this lane may start: there is a slot, and nobody has its profile."""
        return len(self._keys) < self._limits.concurrency and lane.profile not in self._busy

    def takes(self, task: LiveTask) -> None:
        """A task runs from now on, or was found running: it has a slot and its profile until it is `over`."""
        self._keys.add(task.key)
        profile = browser_spec(task).profile
        if profile is not None:
            self._busy[profile] = task.id

    def over(self, task: LiveTask) -> None:
        """It runs no more: its slot is free, its profile when the outcome is durable."""
        self._keys.discard(task.key)

    def lost(self, task: LiveTask) -> None:
        """It is judged to be over, and its end or next attempt comes: what has not begun of this one never does."""
        self.over(task)
        self.supervisor.withdraw(task.key)

    def settled(self, task: LiveTask) -> None:
        """The outcome of a task that ran is durable."""
        profile = browser_spec(task).profile
        if profile is not None:
            self._begin(self._settle_profile(profile, task))

    async def _settle_profile(self, profile: str, task: LiveTask) -> None:
        succeeded = task.state is TaskState.SUCCEEDED
        try:
            await asyncio.to_thread(self.profiles.settle, profile, task.id, succeeded=succeeded)
        except OSError as error:
            # The next start settles it.
            log.error("a profile is not saved", extra={"profile": profile, "error": error.strerror or str(error)})
        self._busy.pop(profile, None)
        self._on_free()

    # Starting

    def start(self, task: LiveTask) -> None:
        """Hand the attempt, which is durably running, to a browser."""
        spec = browser_spec(task)
        try:
            self.supervisor.make_folder(task.folder)
        except OSError as error:
            self._cannot_start(task, error)
            return
        if spec.profile is None:
            self.supervisor.run(task, None)
        else:
            self._begin(self._start_with(spec.profile, task, task.key))

    async def _start_with(self, profile: str, task: LiveTask, key: str) -> None:
        state_file = task.folder / STATE_FILE
        try:
            loaded = await asyncio.to_thread(self._load, profile, state_file)
        except OSError as error:
            if key in self._keys:
                self._cannot_start(task, error)
            return
        if key not in self._keys:
            return  # recovery has found it lost meanwhile
        if loaded.note:
            task.notes.append(loaded.note)
        if task.intent is None:
            self.supervisor.run(task, None if loaded.state is None else state_file)
        else:
            self.ended(task, End(EndState.CANCELLED))

    def _load(self, profile: str, into: Path) -> Loaded:
        loaded = self.profiles.load(profile)
        if loaded.state is not None:
            owner = into.parent.stat()
            # Others of the folder's user may run: what they put there under this name is not written through.
            fd = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                os.fchown(fd, owner.st_uid, owner.st_gid)
                file.write(loaded.state)
        return loaded

    def _cannot_start(self, task: LiveTask, error: OSError) -> None:
        body = ErrorBody(
            code="spawn_failed",
            message=f"cannot make the task's folder: {error.strerror or error}",
            hint="Free some space on the box's disk and let its user write there.",
        )
        self.ended(task, End(EndState.FAILED, body))

    def cancel(self, task: LiveTask) -> None:
        """End the attempt; its intent is durable."""
        self.supervisor.cancel(task, at_once=task.intent is Intent.BEGIN_ANEW)

    # What the supervisor tells

    def started(self, task: LiveTask) -> None:
        """Its first step begins."""
        task.started_boot_s = boot_s()
        task.started_at_ms = max(task.started_at_ms or 0, now_ms())
        self._watch.add(task)

    def stepped(self, task: LiveTask, index: int, step: StepResult) -> None:
        """A step has ended: it is on its way to the disk, and nobody waits for that."""
        task.steps[index] = step
        self._journal.commit([(ADD_STEP, (task.id, task.attempt, index, step.model_dump_json()))])
        report = StepReport(
            task_id=task.id,
            index=index + 1,
            total=len(browser_spec(task).steps),
            action=step.action,
            name=step.name or "",
            state=step.state.value,
            duration_ms=step.duration_ms,
        )
        self._watch.step(report)

    def ended(self, task: LiveTask, end: End) -> None:
        """Nothing of the attempt goes on: its deadline is over with it."""
        self._watch.remove(task)
        # Should the spawner be lost from here on, that is no loss of this task.
        task.is_due = False
        profile = browser_spec(task).profile
        if end.state is EndState.SUCCEEDED and end.state_file is not None and profile is not None:
            self._begin(self._end_with(profile, task, task.key, end, Path(end.state_file)))
        else:
            self._end(task, end)

    async def _end_with(self, profile: str, task: LiveTask, key: str, end: End, state_file: Path) -> None:
        try:
            await asyncio.to_thread(self.profiles.draft, profile, task.id, task.folder, state_file)
        except (OSError, ValueError) as error:
            body = ErrorBody(
                code="profile_not_saved",
                message=f"the steps succeeded, but profile {profile} cannot be saved: {error}",
                hint="Free some space on the box's disk; the profile is as it was before the task.",
            )
            end = End(EndState.FAILED, body, end.files)
        if key in self._keys:
            self._end(task, end)

    def _end(self, task: LiveTask, end: End) -> None:
        spec = browser_spec(task)
        ending = decide(
            end,
            task.intent,
            task.intent_by,
            spec.timeout_s,
            attempt=task.attempt,
            is_idempotent=spec.idempotent,
        )
        if end.state in {EndState.SUCCEEDED, EndState.FAILED} and task.steps:
            task.steps = dict(enumerate(result.all_steps(spec, task.steps)))
        left = [Found(file.name, Path(file.path), file.media_type) for file in end.files]
        self._on_end(task, ending, left)

    async def close(self) -> None:
        """Kill the browser; what it had in hand is interrupted, as the next start finds."""
        await self.supervisor.close()
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSE_S)
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.result()


def placed(task: LiveTask, ending: Ending) -> Ending:
    """The ending of a task that ran, which names the step that it was at where it was ended from without."""
    spec = browser_spec(task)
    has_begun = task.started_boot_s is not None or bool(task.steps)
    if ending.state not in _CUT_OFF or ending.error is None or not has_begun:
        return ending
    error = result.told(ending.error, spec, task.steps)
    task.steps = dict(enumerate(result.all_steps(spec, task.steps, cut_off=True)))
    return replace(ending, error=error)


def outcome_of(task: LiveTask, files: int) -> tuple[dict[str, Any] | None, Found | None]:
    """The result of a browser task that is over, within what an entry takes, and the file that holds the whole of it
    where something had to be cut; it is written into the task's folder."""
    if not isinstance(task.spec, BrowserRun) or task.attempt == 0:
        return None, None
    steps = [task.steps[index] for index in sorted(task.steps)]
    body, is_cut = result.fit(steps, result.budget_bytes(files + 1))
    if task.notes:
        body["notes"] = task.notes
    if not is_cut:
        return body, None
    path = task.folder / RESULT
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(result.whole(steps))
    except OSError as error:
        log.error("a result is not kept whole", extra={"task": task.id, "error": error.strerror or str(error)})
        return body, None
    return body, Found(RESULT, path, "application/json")

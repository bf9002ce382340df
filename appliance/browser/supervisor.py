"""The daemon's end of the browser: keeps one runner up, hands it attempts, and replaces it when it dies or wears out.

One mechanism serves the end of a runner, of its driver and of its browser: whatever of the three is gone, the whole
runner is killed with all that descends from it, and another is started at once. Its attempts are told of as crashed
when nothing of it lives any more, so that a retry never runs beside what it retries. A runner that has done its number
of tasks, or takes too much memory, is replaced without that: the next is started, takes over when it is ready, and the
old one is let go after its last attempt.

Runners are attempts of the spawner, with a key that no task's can be. They live no longer than their daemon.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from appliance.bash import TaskUser
from appliance.browser import chromium
from appliance.browser.ending import End, EndState, crashed
from appliance.browser.launcher import Launcher, last_words
from appliance.browser.seat import Seat, Stage
from appliance.browser.wire import (
    Cancel,
    Done,
    Hello,
    Lost,
    Memory,
    Quit,
    Ready,
    Run,
    Started,
    Stepped,
    Unable,
    Worn,
    decode_from_runner,
)
from appliance.folder import DataFolder
from appliance.live import LiveTask, browser_spec
from appliance.spawn import Event, Exited, Gone, Spawner, SpawnerError, SpawnFailed, Started as Spawned
from cloudsync.spec import ErrorBody, StepResult
from cloudsync.variables import secrets_in

log = logging.getLogger(__name__)

# Between the order to end an attempt and the end of the whole runner.
GRACE_S: Final = 5.0
# Within this an attempt that a runner was handed has its first step begun: two contexts that are not made in their time
# are told of before that, and a driver that answers nothing is not.
BEGIN_LIMIT_S: Final = 60.0
# A browser is up in one or two seconds; on a machine that is busy with its own start in ten times that.
START_LIMIT_S: Final = 40.0
# How long after its last attempt a runner that was let go may take to end.
QUIT_LIMIT_S: Final = 6.0
# A process in uninterruptible sleep outlives SIGKILL: nobody waits for it longer than this.
GONE_LIMIT_S: Final = 12.0
# Starts in a row that come to nothing before the tasks that wait are told.
START_ATTEMPTS: Final = 3
# Before the next attempt, by the number of those in a row that came to nothing.
RETRY_S: Final = (0.0, 0.5, 2.0, 10.0, 60.0)
_OFF: Final = ErrorBody(
    code="no_browser",
    message="this box is set to run no browser",
    hint="Set 'browser' to auto in its settings to have it run browser tasks.",
)


@dataclass(frozen=True, slots=True)
class BrowserLimits:
    """How a box runs its browser."""

    is_on: bool = True
    concurrency: int = 4
    recycle_tasks: int = 200
    memory_mib: int = 1024
    program: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Hooks(Protocol):
    """Who is told what becomes of attempts; all on the loop's thread."""

    def started(self, task: LiveTask) -> None:
        """Its first step begins."""

    def stepped(self, task: LiveTask, index: int, result: StepResult) -> None:
        """A step, from 0 on, has ended."""

    def ended(self, task: LiveTask, end: End) -> None:
        """It is over. Where it did not succeed nothing of it goes on; else its pages are just being closed."""


class Supervisor:
    """Hands attempts to runners. All methods are called on the loop's thread."""

    def __init__(self, folder: DataFolder, user: TaskUser, limits: BrowserLimits, hooks: Hooks) -> None:
        self.limits = limits
        self.unable: ErrorBody | None = None
        """Why no browser can be had, as the last attempt to start one said."""
        self._hooks = hooks
        self._runs_as_root = user.switch_to is None and not chromium.has_sandbox()
        self._launcher = Launcher(folder, user, self._welcome, self._serve)
        self._spawner: Spawner | None = None
        self._seats: dict[str, Seat] = {}
        self._current: Seat | None = None
        self._next: Seat | None = None
        self._pending: dict[str, tuple[LiveTask, Run]] = {}
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._is_wanted = False
        self._is_closing = False

    # The spawner comes and goes

    async def open(self) -> None:
        """Take the connections of runners from now on."""
        await self._launcher.listen()

    def attach(self, spawner: Spawner) -> None:
        """Start runners through this spawner from now on."""
        self._spawner = spawner
        if self._is_wanted:
            self._ensure()

    def detach(self) -> None:
        """The spawner is lost, and its runners with it: nobody says any more when nothing of them lives. Attempts that
        were in hand are recovery's now."""
        self._spawner = None
        self._pending.clear()
        self._current = self._next = None
        lost, self._seats = self._seats, {}
        for seat in lost.values():
            seat.stage = Stage.LOST
            seat.attempts.clear()
            seat.close()

    @property
    def keys(self) -> set[str]:
        """Those of the runners that this daemon has."""
        return set(self._seats)

    # What the executor asks for

    def warm_up(self) -> None:
        """Have a browser ready before it is needed."""
        if self.limits.is_on:
            self._is_wanted = True
            self._ensure()

    def make_folder(self, folder: Path) -> None:
        """Make the folder that an attempt's runner writes its files to. Raises `OSError`."""
        self._launcher.give(folder)

    def run(self, task: LiveTask, state_file: Path | None) -> None:
        """Hand an attempt, whose folder is there, to a runner, now or when one is ready."""
        spec = browser_spec(task)
        if not self.limits.is_on:
            self._hooks.ended(task, End(EndState.UNABLE, _OFF))
            return
        if self.unable is not None and self._retry is not None:
            self._hooks.ended(task, End(EndState.UNABLE, self.unable))
            return
        known = self.limits.secrets
        run = Run(
            key=task.key,
            spec=spec,
            folder=str(task.folder),
            secrets={name: known[name] for name in secrets_in(spec) if name in known},
            state_file=None if state_file is None else str(state_file),
        )
        self._pending[task.key] = (task, run)
        self._is_wanted = True
        self._dispatch()

    def withdraw(self, key: str) -> None:
        """Hand this attempt to no runner any more, and tell nothing of it."""
        self._pending.pop(key, None)

    def cancel(self, task: LiveTask, *, at_once: bool = False) -> None:
        """End an attempt: `ended` follows, at the latest when its runner was killed for it."""
        if self._pending.pop(task.key, None) is not None:
            self._hooks.ended(task, End(EndState.CANCELLED))
            return
        for seat in self._seats.values():
            if task.key in seat.attempts and seat.stage is not Stage.LOST:
                seat.say(Cancel(key=task.key))
                kill = partial(self._lose, seat, "the browser was killed, since a task in it did not end,")
                seat.after(task.key, 0.0 if at_once else GRACE_S, kill)

    def on_event(self, event: Event) -> None:
        """The spawner reports of a runner."""
        seat = self._seats.get(event.key)
        if seat is None:
            return
        match event:
            case Spawned():
                seat.pid = event.pid
                if seat.peer_pid not in {None, seat.pid}:
                    self._lose(seat, "another process answered in the browser's place")
            case SpawnFailed():
                self._lose(seat, f"the browser's runner cannot be started: {event.error}")
                self._bury(seat)
            case Exited():
                how = f"signal {event.signal}" if event.signal is not None else f"status {event.exit_code}"
                self._lose(seat, f"the process that drives the browser ended with {how}")
            case Gone():
                self._lose(seat, "the process that drives the browser ended")
                self._bury(seat)

    async def close(self) -> None:
        """Kill the runners; returns when nothing of them lives, or after GONE_LIMIT_S."""
        self._is_closing = True
        if self._retry is not None:
            self._retry.cancel()
        self._pending.clear()
        self._launcher.close()
        for seat in list(self._seats.values()):
            seat.attempts.clear()
            self._lose(seat, "the daemon stops")
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_LIMIT_S):
                if self._seats and self._spawner is not None:
                    await self._empty.wait()
                await asyncio.gather(*self._work)

    # Starting

    def _ensure(self) -> None:
        """Have a runner, or one on its way."""
        if self._current is None and self._next is None and self._retry is None:
            self._start()

    def _start(self) -> None:
        if self._spawner is None or self._is_closing or self._next is not None:
            return
        limits = self.limits
        try:
            seat = self._launcher.new_seat()
            self._spawner.spawn(
                self._launcher.request(
                    seat, slots=limits.concurrency, memory_limit_mib=limits.memory_mib, program=limits.program
                )
            )
        except OSError as error:
            hint = "Free some space on the box's disk and let its user write there."
            message = f"no browser can be started: {error.strerror or error}"
            self._failed(ErrorBody(code="browser_failed", message=message, hint=hint))
        except SpawnerError:
            log.debug("the browser waits for the next spawner")
        else:
            self._seats[seat.key] = self._next = seat
            self._empty.clear()
            seat.after("start", START_LIMIT_S, partial(self._lose, seat, "the browser did not come up in time"))

    def _welcome(self, token: str, pid: int) -> Seat | None:
        for seat in self._seats.values():
            if seat.token == token and seat.peer_pid is None and seat.pid in {None, pid}:
                seat.peer_pid = pid
                return seat
        return None

    def _failed(self, error: ErrorBody, *, is_certain: bool = True) -> None:
        """A start came to nothing: try again later, and tell those who wait where that is not soon."""
        self._failures += 1
        if is_certain or self._failures >= START_ATTEMPTS:
            if self.unable is None or self.unable.message != error.message:
                log.error("no browser can be had", extra={"error": error.message, "hint": error.hint})
            self.unable = error
            pending, self._pending = self._pending, {}
            for task, _ in pending.values():
                self._hooks.ended(task, End(EndState.UNABLE, error))
        delay_s = RETRY_S[min(self._failures, len(RETRY_S)) - 1] if self._failures < START_ATTEMPTS else RETRY_S[-1]
        if is_certain:
            delay_s = max(delay_s, RETRY_S[2])
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(delay_s, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        if self._pending or self.unable is not None:
            self._ensure()

    # A runner speaks

    async def _serve(self, seat: Seat, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._heard(seat, decode_from_runner(line))
        except (ValueError, OSError) as error:
            log.warning(
                "a browser's runner broke the protocol", extra={"runner": seat.key, "error": type(error).__name__}
            )
        self._lose(seat, "the process that drives the browser ended")

    def _heard(self, seat: Seat, message: object) -> None:
        if seat.stage is Stage.LOST:
            return
        match message:
            case Ready(browser=browser):
                seat.browser = browser
                seat.stage = Stage.READY
                seat.calm("start")
                log.info("a browser is up", extra={"version": browser.version, "sandbox": browser.has_sandbox})
                self._is_up(seat)
            case Unable(error=error):
                self._lose(seat, error.message, error)
            case Started(key=key) if key in seat.attempts:
                seat.calm(_begin(key))
                self._hooks.started(seat.attempts[key])
            case Stepped(key=key, index=index, result=result) if key in seat.attempts:
                self._hooks.stepped(seat.attempts[key], index, result)
            case Done(key=key) if key in seat.attempts:
                task = seat.attempts.pop(key)
                seat.calm(key)
                seat.calm(_begin(key))
                seat.tasks_done += 1
                self._hooks.ended(task, End(EndState(message.state), message.error, message.files, message.state_file))
                self._look_after(seat)
            case Memory(pss_mib=pss_mib):
                seat.pss_mib = pss_mib
                self._look_after(seat)
            case Worn(why=why):
                self._recycle(seat, why)
            case Lost(what=what):
                self._lose(seat, what)
            case Hello() | Started() | Stepped() | Done():
                log.debug("a runner spoke of an attempt that it does not have", extra={"runner": seat.key})
            case _:
                raise AssertionError(message)

    def _is_up(self, seat: Seat) -> None:
        """It takes over."""
        self._failures, self.unable = 0, None
        old, self._current, self._next = self._current, seat, None
        if old is not None:
            self._retire(old)
        self._dispatch()

    def _dispatch(self) -> None:
        seat = self._current
        if seat is None:
            self._ensure()
            return
        pending, self._pending = self._pending, {}
        for task, run in pending.values():
            seat.attempts[run.key] = task
            seat.say(run)
            # Its own deadline begins with its first step.
            stuck = partial(self._lose, seat, "the browser was killed, since a task in it did not begin,")
            seat.after(_begin(task.key), BEGIN_LIMIT_S, stuck)

    # Its end

    def _look_after(self, seat: Seat) -> None:
        """Replace it where it has done enough or takes too much; let it go where it was replaced."""
        if seat.stage is Stage.RETIRING:
            self._let_go(seat)
        elif seat.tasks_done >= self.limits.recycle_tasks:
            self._recycle(seat, f"it has done {seat.tasks_done} tasks")
        elif seat.pss_mib > self.limits.memory_mib and seat.tasks_done:  # a fresh one takes no less than a fresh one
            self._recycle(seat, f"it takes {seat.pss_mib} MiB of memory")

    def _recycle(self, seat: Seat, why: str) -> None:
        if seat is self._current and self._next is None and self._retry is None:
            log.info("the browser is replaced", extra={"why": why})
            self._start()

    def _retire(self, seat: Seat) -> None:
        seat.stage = Stage.RETIRING
        self._let_go(seat)

    def _let_go(self, seat: Seat) -> None:
        if not seat.attempts and "quit" not in seat.timers:
            seat.say(Quit())
            seat.after("quit", QUIT_LIMIT_S, partial(self._lose, seat, "it did not end by itself"))

    def _lose(self, seat: Seat, what: str, unable: ErrorBody | None = None) -> None:
        """It ended, or must: kill all that is left of it. What is said first of it counts."""
        if seat.stage is Stage.LOST:
            return
        was_starting, was_retiring = seat.stage is Stage.STARTING, seat.stage is Stage.RETIRING
        seat.stage, seat.why_lost = Stage.LOST, seat.why_lost or what
        seat.close()
        if self._current is seat:
            self._current = None
        if self._next is seat:
            self._next = None
        if self._spawner is not None:
            with suppress(SpawnerError):
                self._spawner.kill(seat.key)
        if not self._is_closing:
            if not was_retiring or seat.attempts:
                log.warning("a browser was lost", extra={"why": what, "tasks": len(seat.attempts)})
            if unable is not None:
                self._failed(unable)
            elif was_starting:
                self._did_not_start(seat, what)
            else:
                self._ensure()
        seat.after("gone", GONE_LIMIT_S, partial(self._bury, seat))

    def _did_not_start(self, seat: Seat, what: str) -> None:
        words = last_words(seat)
        hint = f"It said: {words}" if words else "See whether the box has memory and processes left, and its log."
        self._failed(ErrorBody(code="browser_failed", message=f"no browser: {what}", hint=hint), is_certain=False)

    def _bury(self, seat: Seat) -> None:
        """Nothing of it lives: its attempts can be told of, and its folders go."""
        if self._seats.pop(seat.key, None) is None:
            return
        if not self._seats:
            self._empty.set()
        seat.close()
        attempts, seat.attempts = seat.attempts, {}
        for task in attempts.values():
            self._hooks.ended(task, crashed(seat.why_lost))
        clearing = asyncio.get_running_loop().create_task(self._launcher.clear(seat))
        self._work.add(clearing)
        clearing.add_done_callback(self._work.discard)

    # What is told of it

    def status(self) -> dict[str, Any]:
        """What `operis-box status` says of the browser."""
        body: dict[str, Any] = {
            "state": self._state(),
            "concurrency": self.limits.concurrency,
            "running": sum(len(each.attempts) for each in self._seats.values()),
            "waiting": len(self._pending),
        }
        seat = self._current
        if seat is not None and seat.browser is not None:
            body |= {
                "program": seat.browser.program,
                "version": seat.browser.version,
                "sandbox": seat.browser.has_sandbox,
                "memory_mib": seat.pss_mib,
                "tasks_done": seat.tasks_done,
            }
        if self.unable is not None:
            body |= {"error": self.unable.message, "hint": self.unable.hint}
        return body

    def _state(self) -> str:
        if not self.limits.is_on:
            return "off"
        if self._current is not None:
            return "ready"
        if self._next is not None:
            return "starting"
        return "not started" if self.unable is None else "unable"

    def warnings(self) -> list[str]:
        """What the operator should know."""
        if not self.limits.is_on:
            return []
        warnings = []
        if self.unable is not None:
            warnings.append(f"browser tasks fail: {self.unable.message}. {self.unable.hint}")
        if self._runs_as_root:
            warnings.append(
                "the browser's sandbox is off, since it runs as root: run the box as another user, or name one for its "
                "tasks with task_user"
            )
        return warnings


def _begin(key: str) -> str:
    """The name of the timer that waits for an attempt's first step."""
    return f"begin {key}"

"""The runner: the process that has the browser, `python -m appliance.browser.runner`.

It performs attempts for its daemon and holds nothing that must outlive it. Where browser or driver is gone it says so
and ends: whoever started it clears up behind it and starts the next.
"""

import asyncio
import logging
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from playwright.async_api import Error, async_playwright
from pydantic import BaseModel

from appliance.browser import evidence, memory
from appliance.browser.contexts import Contexts, Fresh
from appliance.browser.errors import BrowserStuck, BrowserUnable, ContextRefused
from appliance.browser.files import ArtifactFile
from appliance.browser.launch import launch
from appliance.browser.perform import StepsOutcome, StepsState, run_steps
from appliance.browser.secrets import Redactor
from appliance.browser.wire import (
    LINE_LIMIT_BYTES,
    TO_RUNNER,
    Cancel,
    Done,
    Hello,
    LeftFile,
    Lost,
    Memory,
    Place,
    Quit,
    Ready,
    Run,
    RunState,
    Started,
    Stepped,
    Unable,
    Worn,
    encode,
)
from cloudsync.spec import ErrorBody, StepResult

log = logging.getLogger(__name__)

PLACE: Final = "OPERIS_BROWSER"
# The daemon ends an attempt whose time is over; this ends it where the daemon is late.
LATE_S: Final = 3.0
# How long a step that is told to stop may take to.
STOP_LIMIT_S: Final = 1.0
STATE_LIMIT_S: Final = 10.0
# Within this a browser or driver that is gone is known to be.
LOSS_LIMIT_S: Final = 2.0
# Often enough for a page that takes all the memory it can get.
WATCH_S: Final = 0.5
# The next contexts are made once it is quiet: what runs comes first.
QUIET_S: Final = 0.05
# In so many looks at the largest page the whole is measured, which costs more.
MEASURE_LOOKS: Final = 4


@dataclass(slots=True, eq=False)
class Attempt:
    """One `run` in hand."""

    run: Run
    stopping: asyncio.Event
    task: "asyncio.Task[None] | None" = None


class Runner:
    """One browser, and the attempts that it performs."""

    def __init__(self, place: Place, writer: asyncio.StreamWriter, contexts: Contexts) -> None:
        self._place = place
        self._contexts = contexts
        self._writer = writer
        # So that draining it is to have sent all.
        writer.transport.set_write_buffer_limits(high=0)
        self._attempts: dict[str, Attempt] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._filling: asyncio.Task[None] | None = None
        self._is_quitting = False
        self._ended_page: memory.EndedPage | None = None

    def say(self, message: BaseModel) -> None:
        """Tell the daemon."""
        self._writer.write(encode(message))

    def receive(self, message: Run | Cancel | Quit) -> None:
        """Do what the daemon says."""
        match message:
            case Run():
                attempt = self._attempts[message.key] = Attempt(message, asyncio.Event())
                attempt.task = asyncio.get_running_loop().create_task(self._perform(attempt))
            case Cancel():
                if message.key in self._attempts:
                    self._attempts[message.key].stopping.set()
            case Quit():
                self._is_quitting = True
                self._quit_if_idle()

    def _quit_if_idle(self) -> None:
        if self._is_quitting and not self._attempts:
            os._exit(0)

    # One attempt

    async def _perform(self, attempt: Attempt) -> None:
        run = attempt.run
        redact = Redactor(run.secrets).text
        fresh = None
        try:
            fresh = await self._take(run)
            done = await self._run(attempt, fresh, redact)
        except ContextRefused as refused:
            error = refused.error.model_copy(update={"message": redact(refused.error.message)})
            done = Done(key=run.key, state=RunState.FAILED, error=error)
        except BrowserStuck as stuck:
            self.say(Worn(why=str(stuck)))
            done = Done(key=run.key, state=RunState.FAILED, error=_stuck(str(stuck)))
        except Error as error:
            done = await self._cut_off(run, redact(error.message))
        except Exception as error:
            log.exception("an attempt was not performed", extra={"attempt": run.key})
            done = Done(key=run.key, state=RunState.FAILED, error=_defect(error))
        if fresh is not None and done.state is not RunState.SUCCEEDED:
            # What was cut off may go on in its pages, and may be tried again as soon as this is told.
            await self._close(fresh)
            fresh = None
        self.say(done)
        del self._attempts[run.key]
        if fresh is not None:
            await self._close(fresh)
        if self._is_quitting:
            # Ending loses what is not sent yet; where the daemon is gone nobody wants it.
            with suppress(OSError):
                await self._writer.drain()
        self._quit_if_idle()
        self.refill()

    async def _cut_off(self, run: Run, said: str) -> Done:
        """A call failed as if the browser were gone: then this process ends now, or else the browser is replaced."""
        await asyncio.sleep(LOSS_LIMIT_S)
        self.say(Worn(why="its calls fail"))
        first, *_ = said.splitlines() or [""]
        return Done(key=run.key, state=RunState.FAILED, error=_stuck(first))

    async def _take(self, run: Run) -> Fresh:
        if self._filling is not None:
            self._filling.cancel()
        return await self._contexts.take(run.spec, run.state_file, run.secrets)

    async def _run(self, attempt: Attempt, fresh: Fresh, redact: evidence.Redact) -> Done:
        run, loop = attempt.run, asyncio.get_running_loop()
        self.say(Started(key=run.key))
        if run.spec.trace:
            try:
                await evidence.record_fully(fresh.context, has_secrets=bool(run.secrets))
            except TimeoutError:
                raise BrowserStuck("the browser begins no trace") from None

        def on_step(index: int, result: StepResult) -> None:
            self.say(Stepped(key=run.key, index=index, result=result))

        steps = loop.create_task(
            run_steps(
                fresh.context,
                run.spec,
                folder=Path(run.folder),
                deadline_s=loop.time() + run.spec.timeout_s + LATE_S,
                secrets=run.secrets,
                on_step=on_step,
                explain=fresh.proxy.explain,
            )
        )
        stopping = loop.create_task(attempt.stopping.wait())
        await asyncio.wait((steps, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        outcome = await _stopped(steps)
        return await self._done(run, fresh, redact, outcome)

    async def _done(self, run: Run, fresh: Fresh, redact: evidence.Redact, outcome: StepsOutcome | None) -> Done:
        """What came of the steps, and what is kept of them; no outcome: they were cut off."""
        folder = Path(run.folder)
        files = [] if outcome is None else [_left(file) for file in outcome.files]
        if outcome is None or outcome.state is StepsState.FAILED:
            error = None if outcome is None else self._explained(outcome.error)
            page = evidence.last_page(fresh.context) if outcome is None else outcome.page
            has_page = error is None or error.code != "page_crashed"
            files += await evidence.keep_failure(
                fresh.context, page if has_page else None, folder, redact, has_secrets=bool(run.secrets)
            )
            state = RunState.CANCELLED if outcome is None else _state_of(error)
            return Done(key=run.key, state=state, error=error, files=tuple(files))
        state_file = None
        if outcome.saved_state_wanted:
            state_file = await _save_state(fresh, folder)
            if state_file is None:
                return Done(key=run.key, state=RunState.FAILED, error=_NO_STATE, files=tuple(files))
        if run.spec.trace:
            trace = await evidence.keep_trace(fresh.context, folder, redact, has_secrets=bool(run.secrets))
            files += [] if trace is None else [trace]
        return Done(key=run.key, state=RunState.SUCCEEDED, files=tuple(files), state_file=state_file)

    def _explained(self, error: ErrorBody | None) -> ErrorBody | None:
        """An error of the steps, with what is known here of why a page crashed."""
        if error is None or error.code != "page_crashed":
            return error
        ended, self._ended_page = self._ended_page, None
        if ended is None or not ended.explains(asyncio.get_running_loop().time()):
            return error
        return error.model_copy(update={"message": f"{error.message}: {ended.why}"})

    async def _close(self, fresh: Fresh) -> None:
        try:
            await self._contexts.close(fresh)
        except BrowserStuck as stuck:
            self.say(Worn(why=str(stuck)))

    # Beside the attempts

    def refill(self) -> None:
        """Make the next contexts ahead, once nothing runs."""
        if not self._attempts and not self._is_quitting and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            await asyncio.sleep(QUIET_S)
            while not self._attempts and await asyncio.shield(self._keep(self._contexts.make_one_ahead())):
                pass
        except (BrowserStuck, Error):
            return  # told of already, or about to be
        self.measure()

    def _keep(self, work: Any) -> "asyncio.Task[bool]":
        """Its end is waited for by nobody where whoever asked for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._kept)
        return task

    def _kept(self, task: "asyncio.Task[bool]") -> None:
        self._background.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), BrowserStuck):
            self.say(Worn(why=str(error)))

    def measure(self) -> None:
        """Tell the daemon what all takes."""
        self.say(Memory(pss_mib=memory.tree_pss_mib(os.getpid())))

    async def watch_memory(self) -> NoReturn:
        """End a page that takes more than the whole browser may: its task fails, the others go on."""
        looks = 0
        while True:
            await asyncio.sleep(WATCH_S)
            if not self._attempts:
                continue
            looks += 1
            if looks % MEASURE_LOOKS == 0:
                self.measure()
            largest = memory.largest_renderer(os.getpid())
            if largest is not None and largest.own_mib > self._place.memory_limit_mib:
                limit = self._place.memory_limit_mib
                why = f"it took {largest.own_mib} MiB of memory, and {limit} are allowed"
                self._ended_page = memory.EndedPage(why, asyncio.get_running_loop().time())
                with suppress(ProcessLookupError):
                    os.kill(largest.pid, 9)


def _left(file: ArtifactFile) -> LeftFile:
    return LeftFile(name=file.name, media_type=file.media_type, path=str(file.path))


def _state_of(error: ErrorBody | None) -> RunState:
    return RunState.TIMED_OUT if error is not None and error.code == "timed_out" else RunState.FAILED


async def _stopped(steps: "asyncio.Task[StepsOutcome]") -> StepsOutcome | None:
    """The outcome of steps that are over; None where they had to be cut off."""
    if not steps.done():
        steps.cancel()
        await asyncio.wait((steps,), timeout=STOP_LIMIT_S)
    if not steps.done() or steps.cancelled():
        return None
    return steps.result()


async def _save_state(fresh: Fresh, folder: Path) -> str | None:
    path = folder / ".state.json"
    try:
        async with asyncio.timeout(STATE_LIMIT_S):
            await fresh.context.storage_state(path=path, indexed_db=True)
    except (TimeoutError, Error):
        return None
    return str(path)


def _stuck(why: str) -> ErrorBody:
    return ErrorBody(code="browser_stuck", message=f"the browser does not answer: {why}", hint=_STUCK_HINT)


def _defect(error: Exception) -> ErrorBody:
    return ErrorBody(
        code="runner_failed",
        message=f"the browser's runner failed: {type(error).__name__}",
        hint="This is a defect of operis: report it with the task's steps. Other tasks are not affected.",
    )


_STUCK_HINT: Final = "The browser is being replaced: run the task again."
_NO_STATE: Final = ErrorBody(
    code="profile_not_saved",
    message="the steps succeeded, but the browser did not give its state in time",
    hint="Run the task again; the profile is as it was before the task.",
)


async def serve(place: Place) -> NoReturn:
    """Connect, start the browser, and do what the daemon says until it is gone."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_unix_connection(f"\0{place.address}", limit=LINE_LIMIT_BYTES)
    writer.write(encode(Hello(token=place.token)))
    launched: asyncio.Future[Runner] = loop.create_future()
    # It ends with the daemon even while the browser is being started.
    reading = loop.create_task(_read(reader, launched))
    # Never stopped: it ends with this process, whose own errors are then the last that is said.
    playwright = await async_playwright().start()
    for pid in _children():
        # Playwright's own end of a driver that is killed leaves calls waiting.
        loop.add_reader(os.pidfd_open(pid), partial(_lost, writer, "the browser's driver ended"))
    try:
        browser, told = await launch(playwright, place.program)
    except BrowserUnable as unable:
        writer.write(encode(Unable(error=unable.error)))
        await writer.drain()
        os._exit(0)
    browser.on("disconnected", lambda _: _lost(writer, "the browser ended"))
    runner = Runner(place, writer, Contexts(playwright, browser, place.slots))
    launched.set_result(runner)
    runner.say(Ready(browser=told))
    runner.refill()
    await asyncio.gather(reading, runner.watch_memory())
    raise AssertionError("both go on for ever")


async def _read(reader: asyncio.StreamReader, launched: "asyncio.Future[Runner]") -> NoReturn:
    while line := await reader.readline():
        (await launched).receive(TO_RUNNER.validate_json(line))
    # The daemon is gone, and with it whoever wants an answer; the browser goes with its driver.
    os._exit(0)


def _lost(writer: asyncio.StreamWriter, what: str) -> NoReturn:
    """Say it, and end at once: nothing of this process can be relied upon any more."""
    writer.write(encode(Lost(what=what)))
    os._exit(1)


def _children() -> list[int]:
    return [int(word) for task in Path("/proc/self/task").iterdir() for word in (task / "children").read_text().split()]


def main(environment: MutableMapping[str, str]) -> None:
    """Serve the daemon that the environment names."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.WARNING)
    # What it says is for this process alone, and not for the browser.
    place = Place.model_validate_json(environment.pop(PLACE))
    asyncio.run(serve(place))


if __name__ == "__main__":
    main(os.environ)

"""Performs the steps of a browser task in a context that is there for it alone.

Every call has a deadline of its own, since some of Playwright's never settle; a step that ran into it fails, and the
context, which the caller closes, takes what hangs with it. A step's result is told as it ends. Secrets are filled in
where they are used, and stand in no value, error or name that leaves here.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from playwright.async_api import BrowserContext, Error, Page
from pydantic import ValidationError

from appliance.browser.errors import StepFailed
from appliance.browser.failures import place, reason
from appliance.browser.files import ArtifactFile, KeptFiles
from appliance.browser.perform_act import act
from appliance.browser.perform_check import check
from appliance.browser.perform_go import go
from appliance.browser.perform_keep import keep
from appliance.browser.perform_read import read
from appliance.browser.perform_tabs import tab
from appliance.browser.scene import STEP_TIMEOUT_S, Scene
from appliance.browser.secrets import Redactor
from appliance.browser.tabs import Tabs
from appliance.browser.values import as_json, cut
from cloudsync.complaint import complaints
from cloudsync.errors import VariableWrong
from cloudsync.spec import BrowserRun, ErrorBody, StepResult, StepState
from cloudsync.step.check import Expect
from cloudsync.step.go import WaitFor
from cloudsync.steps import Acting, Going, Keeping, Reading, Step
from cloudsync.variables import fill

log = logging.getLogger(__name__)

# Playwright's own deadline says more than ours: it is given the chance to come first.
GRACE_S: Final = 0.5
# How much later than a call that it cut off a crash may be told.
CRASH_S: Final = 0.3
GONE_S: Final = 0.5


class StepsState(StrEnum):
    """How the steps ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepsOutcome:
    """What came of the steps. `error` names the one that failed, with code `timed_out` where the task's time ended."""

    state: StepsState
    error: ErrorBody | None
    files: list[ArtifactFile] = field(default_factory=list)
    saved_state_wanted: bool = False
    page: Page | None = None
    """The tab that was the current one at the end, where one was open."""


async def run_steps(
    context: BrowserContext,
    spec: BrowserRun,
    *,
    folder: Path,
    deadline_s: float,
    secrets: Mapping[str, str],
    on_step: Callable[[int, StepResult], None],
    explain: Callable[[str | None], str | None] = lambda _: None,
) -> StepsOutcome:
    """Perform them one after the other in a fresh context, whose first page is used where it has one.

    `folder` gets the files that steps keep. `deadline_s` is a time of the loop. `secrets` has all that the spec asks
    for. `on_step` is called with the index, from 0 on, and the result of each step as it ends, skipped ones included.
    `explain` says why an address was refused, where the filter in front of the context knows. A cancellation passes
    through; so does Playwright's `Error` where the browser itself is gone.
    """
    performance = _Performance(context, spec, folder, deadline_s, secrets, on_step, explain)
    try:
        return await performance.run()
    finally:
        performance.scene.tabs.close()


class _Performance:
    def __init__(
        self,
        context: BrowserContext,
        spec: BrowserRun,
        folder: Path,
        deadline_s: float,
        secrets: Mapping[str, str],
        on_step: Callable[[int, StepResult], None],
        explain: Callable[[str | None], str | None],
    ) -> None:
        waits_for_response = any(isinstance(step, WaitFor) and step.response is not None for step in spec.steps)
        self.scene = Scene(Tabs(context, with_responses=waits_for_response), KeptFiles(folder), explain)
        self._spec = spec
        self._deadline_s = deadline_s
        self._secrets = secrets
        self._redact = Redactor(secrets)
        self._on_step = on_step
        self._told = 0
        self._loop = asyncio.get_running_loop()

    async def run(self) -> StepsOutcome:
        if not self.scene.tabs.pages:
            await self.scene.tabs.open()
        self.scene.began_s = self._loop.time()
        error = None
        for index, step in enumerate(self._spec.steps):
            error = await self._perform(index, step)
            if error is not None:
                break
        for index in range(self._told, len(self._spec.steps)):
            step = self._spec.steps[index]
            self._tell(index, StepResult(action=step.action, name=step.name, state=StepState.SKIPPED))
        tabs = self.scene.tabs
        return StepsOutcome(
            state=StepsState.SUCCEEDED if error is None else StepsState.FAILED,
            error=error,
            files=self._files(),
            saved_state_wanted=error is None and self.scene.is_profile_wanted,
            page=tabs.current if tabs.pages else None,
        )

    async def _perform(self, index: int, step: Step) -> ErrorBody | None:
        """Perform one step and tell of it; the error that ends the task, if so."""
        scene, now = self.scene, self._loop.time()
        timeout_s = _timeout_s(step)
        scene.number, scene.before_s, scene.began_s = index + 1, scene.began_s, now
        scene.deadline_s = min(now + timeout_s, self._deadline_s)
        value, error = None, None
        try:
            value = as_json(await self._guarded(step))
        except StepFailed as failed:
            error = self._error(index, step, str(failed), failed.code, failed.hint)
        except VariableWrong as wrong:
            error = self._error(index, step, str(wrong))
        except ValidationError as wrong:
            said = "; ".join(str(complaint) for complaint in complaints(wrong, 3))
            error = self._error(index, step, f"does not take what was filled in: {said}")
        except Error as failed:
            if "closed" in failed.message and await self._is_context_gone():
                # Playwright's own message has what was typed last, which may be secret.
                raise Error("the browser is gone") from None
            error = self._error(index, step, reason(failed.message, scene.deadline_s - now))
        except OSError as failed:
            error = self._error(index, step, f"a file cannot be kept: {failed.strerror}")
        except Exception as odd:  # noqa: BLE001 - said below
            # A step is a boundary: a page may answer our own scripts with anything, and no task may take others along.
            log.warning("a step failed oddly", extra={"action": step.action, "error": type(odd).__name__})
            error = self._error(index, step, f"the page gave what could not be used ({type(odd).__name__})")
        took_ms = round((self._loop.time() - now) * 1000)
        state = StepState.SUCCEEDED if error is None else StepState.FAILED
        if error is None and step.save_as is not None:
            scene.variables[step.save_as] = value
        shown = cut(self._redact.value(value))
        result = StepResult(
            action=step.action, name=step.name, state=state, value=shown, duration_ms=took_ms, error=error
        )
        self._tell(index, result)
        if error is None or (step.continue_on_error and error.code not in _ENDING):
            return None
        return error

    async def _guarded(self, step: Step) -> Any:
        """The step's value; `StepFailed` where its tab crashes, or where it does not end in its time."""
        scene = self.scene
        if scene.left_s() <= 0:
            raise StepFailed("the task's time was over before it began", code="timed_out")
        filled = fill(step, scene.variables, self._secrets)
        doing = self._loop.create_task(_do(filled, scene))
        limit_s = scene.left_s() + GRACE_S
        try:
            await asyncio.wait({doing, scene.tabs.crashed}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if doing.done() and _may_tell_of_crash(doing.exception()):
                # A call on a page that crashes may be told of it before its tab is.
                await asyncio.wait({scene.tabs.crashed}, timeout=CRASH_S)
            crashed = scene.tabs.crashed.done() or (doing.done() and _tells_of_crash(doing.exception()))
            if crashed:
                hint = "the page may need more memory than the box has"
                raise StepFailed("the page crashed", code="page_crashed", hint=hint)
            if doing.done():
                return doing.result()
            raise StepFailed(f"the browser did not answer within {limit_s:.3g} s")
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing}, timeout=GRACE_S)
            if doing.done() and not doing.cancelled():
                doing.exception()

    def _error(self, index: int, step: Step, said: str, code: str = "step_failed", hint: str = "") -> ErrorBody:
        is_over = self._loop.time() >= self._deadline_s
        pages = self.scene.tabs.pages
        where = f" (on {place(self.scene.page.url)})" if pages and not isinstance(step, Expect) else ""
        label = f" '{step.name}'" if step.name else ""
        if is_over and code == "step_failed":
            code, hint = "timed_out", "give the task a longer timeout_s, or make its steps quicker"
        message = f"step {index + 1} ({step.action}){label}: {said}{where}"
        return ErrorBody(code=code, message=self._redact.text(message), hint=self._redact.text(hint))

    async def _is_context_gone(self) -> bool:
        """Whether it was not just a tab that closed: that is told a moment after the call that found it closed."""
        try:
            async with asyncio.timeout(GONE_S):
                await self.scene.tabs.closed.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self, index: int, result: StepResult) -> None:
        self._told += 1
        self._on_step(index, result)

    def _files(self) -> list[ArtifactFile]:
        return [
            ArtifactFile(self._redact.text(file.name), file.media_type, file.path) for file in self.scene.files.kept
        ]


_CUT_OFF: Final = re.compile(r"ERR_ABORTED|ERR_FAILED|Frame was detached")
_CRASHED: Final = re.compile(r"\b(Page|Target) crashed")
# Errors after which no step can do anything.
_ENDING: Final = frozenset({"timed_out", "page_crashed"})


def _may_tell_of_crash(error: BaseException | None) -> bool:
    return isinstance(error, Error) and bool(_CUT_OFF.search(error.message))


def _tells_of_crash(error: BaseException | None) -> bool:
    return isinstance(error, Error) and bool(_CRASHED.search(error.message))


def _timeout_s(step: Step) -> float:
    if step.timeout_s is not None:
        return step.timeout_s
    if isinstance(step, WaitFor) and step.milliseconds is not None:
        return step.milliseconds / 1000 + STEP_TIMEOUT_S
    return STEP_TIMEOUT_S


async def _do(step: Step, scene: Scene) -> Any:
    if isinstance(step, Going):
        return await go(step, scene)
    if isinstance(step, Acting):
        return await act(step, scene)
    if isinstance(step, Reading):
        return await read(step, scene)
    if isinstance(step, Keeping):
        return await keep(step, scene)
    if isinstance(step, Expect):
        return await check(step, scene)
    return await tab(step, scene)

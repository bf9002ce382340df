"""How a browser task ended: decided from what its runner said or what became of the runner."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from appliance.browser.wire import LeftFile
from appliance.planner import Ending, Intent, intended
from cloudsync.spec import MAX_ATTEMPTS, ErrorBody
from cloudsync.task import TaskState


class EndState(StrEnum):
    """What came of an attempt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    CRASHED = "crashed"  # runner, driver or browser died under it
    UNABLE = "unable"  # it never began: no browser can be had


@dataclass(frozen=True, slots=True)
class End:
    """The end of an attempt as the supervisor saw it."""

    state: EndState
    error: ErrorBody | None = None
    files: tuple[LeftFile, ...] = ()
    state_file: str | None = None


_CRASH_HINT: Final = (
    "A working browser is being started. Look at the steps it did before you run it again; idempotent tasks are "
    "retried by themselves."
)


def crashed(what: str) -> End:
    """The runner was lost while it had the attempt."""
    message = f"{what} while the task ran"
    return End(EndState.CRASHED, ErrorBody(code="browser_crashed", message=message, hint=_CRASH_HINT))


def decide(end: End, intent: Intent | None, by: str, timeout_s: float, *, attempt: int, is_idempotent: bool) -> Ending:
    """The task's ending; with `retry` where its next attempt is to run instead."""
    if intent is not None:
        return intended(intent, by, timeout_s)
    match end.state:
        case EndState.SUCCEEDED:
            return Ending(TaskState.SUCCEEDED)
        case EndState.FAILED | EndState.UNABLE:
            return Ending(TaskState.FAILED, None, end.error)
        case EndState.TIMED_OUT:
            return intended(Intent.TIMEOUT, "", timeout_s)
        case EndState.CANCELLED | EndState.CRASHED:
            # Nobody asked for an end: whatever cut it off, it was not the task.
            error = end.error or crashed("the steps were cut off").error
            retry = is_idempotent and attempt < MAX_ATTEMPTS
            return Ending(TaskState.INTERRUPTED, None, error, retry=retry)
        case _:
            assert_never(end.state)

"""How a browser task's end is decided."""

import pytest

from appliance.browser.ending import End, EndState, crashed, decide
from appliance.planner import Ending, Intent
from cloudsync.spec import MAX_ATTEMPTS, ErrorBody
from cloudsync.task import TaskState

ERROR = ErrorBody(code="step_failed", message="step 1 (goto): no")


def ended(end: End, intent: Intent | None = None, *, attempt: int = 1, is_idempotent: bool = False) -> Ending:
    return decide(end, intent, "ann", 5.0, attempt=attempt, is_idempotent=is_idempotent)


@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        (End(EndState.SUCCEEDED), TaskState.SUCCEEDED, ""),
        (End(EndState.FAILED, ERROR), TaskState.FAILED, "step_failed"),
        (End(EndState.UNABLE, ERROR), TaskState.FAILED, "step_failed"),
        (End(EndState.TIMED_OUT, ERROR), TaskState.TIMED_OUT, "timed_out"),
        (crashed("the driver ended"), TaskState.INTERRUPTED, "browser_crashed"),
        (End(EndState.CANCELLED), TaskState.INTERRUPTED, "browser_crashed"),
    ],
)
def test_without_an_intent_the_runner_is_believed(end: End, state: TaskState, code: str) -> None:
    ending = ended(end)
    assert (ending.state, "" if ending.error is None else ending.error.code) == (state, code)
    assert ending.exit_code is None
    assert not ending.retry


@pytest.mark.parametrize("state", list(EndState))
def test_an_intent_names_the_outcome_whatever_came_of_the_steps(state: EndState) -> None:
    ending = ended(End(state, ERROR), Intent.CANCEL, is_idempotent=True)
    assert (ending.state, ending.retry) == (TaskState.CANCELLED, False)
    assert ending.error is not None
    assert "ann" in ending.error.message
    assert ended(End(state), Intent.TIMEOUT).state is TaskState.TIMED_OUT


def test_only_a_crash_is_tried_again_only_where_it_may_and_not_for_ever() -> None:
    crash = crashed("the browser ended")
    assert ended(crash, is_idempotent=True).retry
    assert not ended(crash, attempt=MAX_ATTEMPTS, is_idempotent=True).retry
    assert not ended(crash).retry
    assert not ended(End(EndState.FAILED, ERROR), is_idempotent=True).retry

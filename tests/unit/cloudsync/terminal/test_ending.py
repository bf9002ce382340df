"""How a command ends that ran a task."""

from typing import Any

import pytest

from cloudsync.task import FINAL, TaskState
from cloudsync.terminal.ending import OURS, TIMED_OUT, exit_status, say

ERROR = {"code": "c", "message": "the disk\x1b[2J is full", "hint": "free some"}


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [
        ("succeeded", 0, 0),
        ("succeeded", None, 0),
        ("failed", 3, 3),
        ("failed", 137, 137),
        ("failed", None, OURS),
        ("timed_out", 143, TIMED_OUT),
        ("cancelled", 143, OURS),
    ],
)
def test_status_is_the_tasks_own_or_ours(state: str, code: int | None, status: int) -> None:
    assert exit_status("operis", {"id": "t-1", "state": state, "exit_code": code}, TaskState(state)) == status


@pytest.mark.parametrize("state", sorted(FINAL - {TaskState.SUCCEEDED}))
def test_what_the_task_did_not_decide_is_said_and_steers_no_terminal(
    state: TaskState, capsys: pytest.CaptureFixture[str]
) -> None:
    task: dict[str, Any] = {"id": "t-1", "state": str(state), "exit_code": None, "error": ERROR}
    assert exit_status("operis-box", task, state) in {TIMED_OUT, OURS}
    said = capsys.readouterr().err
    words = str(state).replace("_", " ")
    assert said == f"operis-box: task t-1 {words}: the disk\N{REPLACEMENT CHARACTER}[2J is full\nhint: free some\n"


def test_without_a_hint_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("operis", "gone")
    assert capsys.readouterr().err == "operis: gone\n"

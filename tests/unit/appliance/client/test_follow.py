"""What a task of the box waits for, in words."""

import pytest

from appliance.client.follow import reason
from cloudsync.task import TaskState
from cloudsync.terminal import times

NOW = times.parse("2026-01-02T03:07:05.000Z") or 0.0


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ({"state": "accepted"}, "accepted: waits for its turn"),
        ({"state": "running", "started_at": "2026-01-02T03:06:53.000Z"}, "running 12 s"),
        ({"state": "running"}, "running"),
        ({"state": "paused"}, "paused"),
    ],
)
def test_wait_is_explained(task: dict[str, str], text: str) -> None:
    assert reason(task, NOW).text == text


@pytest.mark.parametrize("state", sorted(TaskState))
def test_every_state_has_a_reason(state: TaskState) -> None:
    assert reason({"state": str(state)}, NOW).text

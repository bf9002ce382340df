"""What a waiting operator reads."""

from typing import Any

import pytest

from cloudsync.task import FINAL, TaskState
from cloudsync.terminal import times
from hub.client import waiting
from hub.client.errors import ClientError
from hub.client.waiting import reason
from tests.unit.hub.client.peer import a_box, a_task

NOW = times.parse("2026-01-02T03:07:05.000Z") or 0.0


@pytest.mark.parametrize(
    ("task", "box", "text"),
    [
        ({}, {"status": "lost"}, "queued: box-1 not connected for 3 min (until 2026-01-03 03:04Z)"),
        ({}, {"status": "never"}, "queued: box-1 has never connected (until 2026-01-03 03:04Z)"),
        ({}, {}, "queued: box-1 is connected, it is about to be sent (until 2026-01-03 03:04Z)"),
        ({"deliver_by": None}, {"status": "quarantined", "why": "clone"}, "queued: box-1 is quarantined (clone)"),
        ({"delivery": "sent"}, {}, "sent, unconfirmed"),
        ({"delivery": "sent"}, {"status": "stale"}, "sent, unconfirmed, box-1 not connected for 3 min"),
        ({"state": "accepted"}, {}, "accepted: waits for its turn on box-1"),
        ({"state": "running", "started_at": "2026-01-02T03:06:53.000Z"}, {}, "running 12 s"),
        ({"state": "running"}, {"status": "revoked"}, "running, box-1 is revoked"),
    ],
)
def test_wait_is_explained(task: dict[str, Any], box: dict[str, Any], text: str) -> None:
    assert reason(a_task(**task), a_box(**box), NOW).text == text


def test_wait_is_explained_without_the_box() -> None:
    assert reason(a_task(state="running"), None, NOW).text == "running"


@pytest.mark.parametrize("state", sorted(TaskState))
def test_every_state_has_a_reason(state: TaskState) -> None:
    assert waiting.is_final(a_task(state=str(state))) is (state in FINAL)
    assert reason(a_task(state=str(state)), None, NOW).text


def test_state_of_a_newer_hub_is_an_error_that_says_so() -> None:
    with pytest.raises(ClientError, match="paused") as caught:
        waiting.state_of(a_task(state="paused"))
    assert "update" in caught.value.hint


def test_same_wait_is_the_same_kind_while_its_time_grows() -> None:
    box = a_box(status="lost")
    assert reason(a_task(), box, NOW).kind == reason(a_task(), box, NOW + 60).kind
    assert reason(a_task(), box, NOW).text != reason(a_task(), box, NOW + 60).text

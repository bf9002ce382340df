"""What is shown of rows."""

from typing import Any

import pytest

from cloudsync.spec import ErrorBody, Outcome, Output, Usage
from hub import views


def row(**changes: Any) -> dict[str, Any]:
    names = (
        "deliver_by", "delivered_at", "accepted_at", "started_at", "ended_at", "synced_at", "exit_code", "outcome",
    )  # fmt: skip
    base: dict[str, Any] = dict.fromkeys(names) | {
        "id": "t", "box_id": "b", "kind": "bash.exec", "spec": "{}", "origin": "hub", "created_by": "me",
        "state": "queued", "delivery": "unsent", "attempt": 0, "created_at": 1000,
    }  # fmt: skip
    return base | changes


def test_task_shows_what_it_came_to() -> None:
    came = Outcome(
        exit_code=1,
        stdout=Output.of(b"\xff"),
        stderr=Output.of(b"cut", total_bytes=9, cut_bytes=6),
        error=ErrorBody(code="x", message="m"),
        usage=Usage(cpu_ms=3, max_rss_kb=4),
    )
    encoded = came.model_dump_json(exclude_none=True, exclude_defaults=True)
    shown = views.task(row(state="failed", outcome=encoded, exit_code=1, synced_at=5000), None)
    assert (shown["stdout"], shown["stderr"], shown["truncated"]) == ("\ufffd", "cut", True)
    assert shown["error"] == {"code": "x", "message": "m", "hint": ""}
    assert shown["result"] == {"usage": {"cpu_ms": 3, "max_rss_kb": 4}}
    assert shown["known_as_of"] == "1970-01-01T00:00:05.000Z"
    assert set(shown) == set(views.TaskView.model_fields)


def test_open_task_is_known_until_its_box_was_last_heard() -> None:
    assert views.task(row(), None)["known_as_of"].endswith("01.000Z")
    assert views.task(row(), 9000)["known_as_of"].endswith("09.000Z")


@pytest.mark.parametrize(
    ("standing", "live", "silent_s", "expected"),
    [
        ("active", True, 45, "connected"),
        ("active", True, 46, "stale"),
        ("active", False, 1, "stale"),
        ("active", False, 300, "stale"),
        ("active", False, 301, "lost"),
        ("active", False, None, "never"),
        ("quarantined", True, 1, "quarantined"),
        ("revoked", True, 1, "revoked"),
    ],
)
def test_status_of_a_box(standing: str, *, live: bool, silent_s: int | None, expected: str) -> None:
    now = 10_000_000
    seen = None if silent_s is None else now - silent_s * 1000
    assert views.status({"standing": standing}, live=live, last_seen_at=seen, now=now) == expected


@pytest.mark.parametrize(
    ("body", "detail"), [(None, None), ('{"a":1}', {"a": 1}), ("[1]", {"raw": "[1]"}), ("oops", {"raw": "oops"})]
)
def test_detail_of_an_event_is_an_object(body: str | None, detail: object) -> None:
    entry = dict.fromkeys(("n", "id", "box_id", "incarnation", "seq", "type", "task_id", "state"), None)
    assert views.event({**entry, "at": 0, "stored_at": 0, "body": body})["detail"] == detail

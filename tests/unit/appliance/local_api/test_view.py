"""A task as its box shows it."""

from typing import Any

import pytest

from appliance.local_api import view
from tests.unit.appliance.engines import Engines


def a_row(**more: Any) -> dict[str, Any]:
    return {
        "id": "t",
        "origin": "hub",
        "state": "failed",
        "spec": '{"kind": "bash.exec", "command": "x"}',
        "created_by": "key-1",
        "created_at": 1000,
        "accepted_at": 2000,
        "attempt": 1,
        "started_at": 3000,
        "ended_at": 4000,
        "exit_code": None,
        "error_code": None,
        "final_seq": 7,
        "outcome": None,
    } | more


async def test_an_outcome_that_is_no_longer_kept_leaves_its_code(engines: Engines) -> None:
    engine = await engines.open()
    shown = view.task(engine, a_row(error_code="timed_out"))
    assert shown["error"] == {"code": "timed_out", "message": "what it said is no longer kept", "hint": ""}
    assert view.task(engine, a_row())["error"] is None


async def test_times_are_those_that_the_box_knows(engines: Engines) -> None:
    engine = await engines.open()
    shown = view.task(engine, a_row())
    assert (shown["deliver_by"], shown["synced_at"], shown["delivered_at"]) == (None, None, "1970-01-01T00:00:02.000Z")
    assert view.task(engine, a_row(origin="local"))["delivered_at"] == "1970-01-01T00:00:01.000Z"
    assert shown["known_as_of"] == shown["ended_at"]
    assert view.task(engine, a_row(state="running", ended_at=None))["known_as_of"] > "2020"


@pytest.mark.parametrize(
    ("state", "seq", "acked", "synced"),
    [("failed", 7, 7, True), ("failed", 7, 6, False), ("failed", None, 9, False), ("running", None, 9, False)],
)
async def test_synced_is_what_the_hub_has_acked_of_its_end(
    engines: Engines, state: str, seq: int | None, acked: int, synced: bool
) -> None:
    engine = await engines.open()
    engine.outbox.acked = acked
    assert view.task(engine, a_row(state=state, final_seq=seq))["synced"] is synced


@pytest.mark.parametrize(("state", "shown"), [("kept", "pending"), ("stored", "stored"), ("lost", "lost")])
def test_an_artifact_has_the_contracts_state(state: str, shown: str) -> None:
    row = {name: name for name in ("id", "name", "media_type", "size_bytes", "sha256", "why")} | {
        "state": state,
        "here": 1,
    }
    assert view.artifact({**row, "n": 3})["state"] == shown
    assert set(view.artifact(row)) == {"id", "name", "media_type", "size_bytes", "sha256", "state", "why", "here"}

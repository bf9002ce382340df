"""`operis events`: entries of the ledger as they come."""

import json
from typing import Any

import pytest

from hub.client import events, follow
from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import Peer, problem, stream


def entry(number: int, **fields: object) -> dict[str, Any]:
    return {
        "n": number,
        "box_id": "box-1",
        "type": "task",
        "task_id": "t-1",
        "state": "failed",
        "at": "2026-01-02T03:04:05.678Z",
        "detail": {"why": "it broke"},
    } | fields


def sent(number: int, **fields: object) -> bytes:
    return f"id: {number}\nevent: task\ndata: {json.dumps(entry(number, **fields))}\n\n".encode()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, and an end soon."""
    monkeypatch.setattr(events, "RETRY_S", (0.01,))
    monkeypatch.setattr(events, "GIVE_UP_S", 0.1)


def test_entry_is_a_line(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "events", stream(sent(7)))
    done = operis("events", "--limit", "1", "--after", "6", "--box", "box-1", "--task", "t-1")
    assert done.status == 0
    assert done.text == "       7  2026-01-02 03:04:05.678Z  box-1  failed  task t-1  it broke\n"
    assert peer.requests[0].query == {"after": "6", "box_id": "box-1", "task_id": "t-1"}


def test_json_is_an_entry_a_line(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "events", stream(sent(1), sent(2, detail=None)))
    lines = operis("events", "--limit", "2", "--json").text.splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2]


def test_broken_stream_goes_on_after_the_newest_entry(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "events", stream(sent(1), sent(2)), stream(sent(3)))
    assert operis("events", "--limit", "3", "--json").text.count("\n") == 3
    assert [one.query for one in peer.requests] == [{}, {"after": "2"}]


def test_hub_that_stays_away_ends_it_and_says_how_to_go_on(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "events", stream(sent(5)), None)
    done = operis("events")
    assert done.status == 1
    assert "'operis events --after 5' goes on where this ended" in done.err
    assert follow.GIVE_UP_S > 60


def test_hub_that_never_answered_is_not_waited_for(operis: Operis, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "GIVE_UP_S", 600.0)
    peer.tell("GET", "events", None)
    assert operis("events").status == 1
    assert len(peer.requests) == 1


def test_refusal_ends_it_at_once(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "events", problem(404, "there is no box 'x'", hint="look"))
    done = operis("events", "--box", "x")
    assert (done.status, done.err) == (1, "operis: there is no box 'x'\nhint: look\n")


@pytest.mark.parametrize("data", ["no json", "[]", "{}", '{"n": 1, "type": "x", "detail": 5}'])
def test_entry_that_cannot_be_read_is_no_hubs(operis: Operis, peer: Peer, data: str) -> None:
    peer.tell("GET", "events", stream(f"data: {data}\n\n".encode()))
    done = operis("events")
    assert done.status == 1
    assert "no Operis hub" in done.err

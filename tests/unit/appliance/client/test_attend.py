"""Handing a task over, once, to a daemon that may go while it is asked."""

import json
from pathlib import Path

import pytest

from appliance.client import attend
from appliance.client.box import Box
from appliance.errors import BrokenOff, Declined, NotRunning, OperatorError
from tests.unit.appliance.client.sayer import answering, reply

MADE = json.dumps({"id": "t-1", "state": "running"}).encode()
PROBLEM = json.dumps(
    {"detail": "no", "hint": "h", "errors": [{"field": "timeout_s", "message": "Input is odd"}]}
).encode()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "RETRY_S", (0.01, 0.01))


def keys(asked: list[bytes]) -> set[bytes]:
    return {line for one in asked for line in one.split(b"\r\n") if line.lower().startswith(b"idempotency-key")}


def test_a_task_is_sent_again_under_the_same_key(tmp_path: Path) -> None:
    with answering(tmp_path, b"", b"", reply(201, MADE)) as asked:
        assert attend.create(Box(tmp_path), {"kind": "x"}, "exec")["id"] == "t-1"
    assert (len(asked), len(keys(asked))) == (3, 1)


def test_a_daemon_that_stays_away_is_given_up_on(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch()
    with answering(tmp_path, b"", b"") as asked, pytest.raises(NotRunning):
        attend.create(Box(tmp_path), {"kind": "x"}, "exec")
    assert len(asked) == 2


def test_what_is_refused_is_not_sent_again_and_said_by_flags(tmp_path: Path) -> None:
    with (
        answering(tmp_path, reply(422, PROBLEM)) as asked,
        pytest.raises(Declined, match="--timeout: is odd") as caught,
    ):
        attend.create(Box(tmp_path), {"kind": "x"}, "exec")
    assert (len(asked), caught.value.hint) == (1, "'operis-box exec --help' shows what is allowed")


def test_an_error_of_a_followed_task_stays_what_it_was() -> None:
    assert attend.type_of(BrokenOff("m", "h")) is BrokenOff
    assert attend.type_of(Declined(404, "m", "h")) is OperatorError

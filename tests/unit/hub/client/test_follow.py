"""A task's output is written once, whole and in order, however often the connection breaks."""

import base64
import io
import time
from collections.abc import Mapping
from typing import Any

import pytest

from cloudsync.terminal.sink import Sink, Stream
from cloudsync.terminal.status_line import StatusLine
from hub.client import follow
from hub.client.errors import ClientError, NoHub, Refused, Unreachable
from hub.client.follow import Follower, is_passing, kept_output
from hub.client.http import Hub
from tests.unit.hub.client.peer import TASK_ID, Peer, Reply, a_box, a_task, as_json, ended, event, problem, stream

RUNNING = a_task(state="running", delivery="confirmed")
OUTPUT = f"tasks/{TASK_ID}/output"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test need not wait for."""
    monkeypatch.setattr(follow, "RETRY_S", (0.01,))
    monkeypatch.setattr(follow, "END_WITHIN_S", 0.2)
    monkeypatch.setattr(follow, "TICK_S", 0.05)
    monkeypatch.setattr(follow, "LOOK_S", 0.05)


class Followed:
    """One follower with what it writes and says."""

    def __init__(self, hub: Hub) -> None:
        self.files: Mapping[Stream, io.BytesIO] = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
        self.said = io.StringIO()
        sinks = {name: Sink(name, file) for name, file in self.files.items()}
        self.follower = Follower(hub, RUNNING, sinks, StatusLine("operis", self.said))

    def to_end(self) -> dict[str, Any]:
        return self.follower.to_end()

    @property
    def out(self) -> bytes:
        return self.files["stdout"].getvalue()


@pytest.fixture
def followed(hub: Hub, peer: Peer) -> Followed:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(RUNNING))
    peer.tell("GET", "boxes/box-1", as_json(a_box()))
    return Followed(hub)


def output(offset: int, data: bytes, name: str = "stdout") -> bytes:
    return event("output", {"stream": name, "offset": offset, "data_b64": base64.b64encode(data).decode()})


def end(**fields: object) -> bytes:
    return event("end", {"task": ended(**fields)})  # type: ignore[arg-type]


def test_exact_bytes_of_both_streams_come_through(followed: Followed, peer: Peer) -> None:
    peer.tell("GET", OUTPUT, stream(output(0, b"\xff\x00\n"), output(0, b"err", "stderr"), output(3, b"!"), end()))
    assert followed.to_end()["state"] == "succeeded"
    assert followed.out == b"\xff\x00\n!"
    assert followed.files["stderr"].getvalue() == b"err"
    assert followed.said.getvalue() == ""


def test_broken_stream_is_taken_up_at_the_bytes_that_are_there(followed: Followed, peer: Peer) -> None:
    peer.tell(
        "GET",
        OUTPUT,
        stream(output(0, b"one "), output(0, b"e", "stderr")),
        # A hub that does not know the offsets sends all of it again.
        stream(output(0, b"one two ")),
        stream(output(8, b"three"), end()),
    )
    followed.to_end()
    assert followed.out == b"one two three"
    assert [one.query for one in peer.asked("GET", OUTPUT)] == [
        {"follow": "1"},
        {"follow": "1", "from_stdout": "4", "from_stderr": "1"},
        {"follow": "1", "from_stdout": "8", "from_stderr": "1"},
    ]


def test_hub_that_is_down_for_a_while_is_waited_for(followed: Followed, peer: Peer) -> None:
    bad = Reply(502, b"<html>", {"Content-Type": "text/html"})
    peer.tell("GET", f"tasks/{TASK_ID}", bad, None, problem(503, "no disk"), as_json(RUNNING))
    peer.tell("GET", OUTPUT, stream(output(0, b"a")), stream(output(1, b"b"), end()))
    followed.to_end()
    assert followed.out == b"ab"
    assert "answered 502 for the hub; the task goes on, trying again" in followed.said.getvalue()


def test_hub_that_stays_away_ends_the_wait(followed: Followed, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "GIVE_UP_S", 0.1)
    peer.tell("GET", f"tasks/{TASK_ID}", None)
    peer.tell("GET", OUTPUT, stream())
    with pytest.raises(Unreachable):
        followed.to_end()


def test_task_that_is_gone_ends_the_wait_at_once(followed: Followed, peer: Peer) -> None:
    peer.tell("GET", OUTPUT, problem(410, "it is no longer kept"))
    with pytest.raises(Refused, match="no longer kept"):
        followed.to_end()


def test_hole_is_filled_from_what_the_hub_keeps(followed: Followed, peer: Peer) -> None:
    gap = event("gap", {"stream": "stdout", "from": 2, "to": 4})
    kept = Reply(206, b"2345", {"Operis-Truncated": "false"})
    peer.tell("GET", OUTPUT, stream(output(0, b"01"), gap, output(4, b"45"), end()), kept)
    followed.to_end()
    assert followed.out == b"012345"
    assert peer.asked("GET", OUTPUT)[1].headers["Range"] == "bytes=2-"
    assert followed.said.getvalue() == ""


def test_hole_in_an_output_that_was_cut_is_said_and_never_filled_with_other_bytes(
    followed: Followed, peer: Peer
) -> None:
    gap = event("gap", {"stream": "stdout", "from": 2, "to": 1000})
    kept = Reply(200, b"01\n[996 bytes left out]\n89", {"Operis-Truncated": "true"})
    peer.tell("GET", OUTPUT, stream(output(0, b"01"), gap, output(1000, b"89"), end()), kept)
    followed.to_end()
    assert followed.out == b"0189"
    assert "998 bytes of stdout from byte 2 on did not come" in followed.said.getvalue()
    assert f"operis logs {TASK_ID}" in followed.said.getvalue()


def test_output_that_came_as_it_is_kept_is_said_to_be_cut(followed: Followed, peer: Peer) -> None:
    text = b"head\n[900 bytes left out]\ntail"
    gap = event("gap", {"stream": "stdout", "from": len(text), "to": 1000})
    kept = Reply(200, text, {"Operis-Truncated": "true"})
    peer.tell("GET", OUTPUT, stream(output(0, text), gap, end()), kept)
    followed.to_end()
    assert followed.out == text
    assert followed.said.getvalue().startswith("operis: stdout is cut to what the hub keeps")


def test_output_of_an_earlier_attempt_is_said_and_never_completed_with_that_of_the_last(
    followed: Followed, peer: Peer
) -> None:
    gap = event("gap", {"stream": "stdout", "from": 0, "to": 6})
    kept = Reply(206, b"cond", {"Operis-Truncated": "false"})
    peer.tell("GET", OUTPUT, stream(output(0, b"fi"), gap, end()), kept)
    followed.to_end()
    assert followed.out == b"fi"
    assert "stdout is of an earlier attempt at the task" in followed.said.getvalue()
    assert f"operis logs {TASK_ID}" in followed.said.getvalue()


def test_stream_that_never_ends_is_left_when_the_task_has_ended(followed: Followed, peer: Peer) -> None:
    # Only the follower's own clock can end this wait: the stream stays open and silent.
    silent = stream(output(0, b"ab"), lambda: time.sleep(0.9))
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended("failed", 3)))
    peer.tell("GET", OUTPUT, silent, Reply(206, b"cd"), Reply(416, b"", {}))
    peer.tell("GET", OUTPUT, silent, Reply(206, b"cd"), problem(416, "nothing there"))
    assert followed.to_end()["exit_code"] == 3
    assert followed.out == b"abcd"


@pytest.mark.parametrize(
    "bad",
    [
        b"event: output\ndata: not json\n\n",
        event("output", {"stream": "stdout", "offset": 0, "data_b64": "***"}),
        event("output", {"stream": "stdout"}),
        event("end", {"task": None}),
        event("end", []),
    ],
)
def test_event_that_cannot_be_read_is_an_error_with_words(followed: Followed, peer: Peer, bad: bytes) -> None:
    peer.tell("GET", OUTPUT, stream(bad))
    with pytest.raises(ClientError):
        followed.to_end()


def test_answer_that_is_no_stream_is_no_hub(followed: Followed, peer: Peer) -> None:
    peer.tell("GET", OUTPUT, as_json({}))
    with pytest.raises(NoHub, match="something else than a stream"):
        followed.to_end()


def test_event_of_a_newer_hub_is_passed_over(followed: Followed, peer: Peer) -> None:
    other = output(0, b"x", "video")
    peer.tell("GET", OUTPUT, stream(event("weather", {"rain": 1}), other, output(0, b"a"), end()))
    followed.to_end()
    assert followed.out == b"a"


def test_kept_output_begins_where_it_is_asked_to(hub: Hub, peer: Peer) -> None:
    peer.tell("GET", OUTPUT, Reply(200, b"012345"), Reply(206, b"45"), problem(416, "nothing"))
    assert [kept_output(hub, f"tasks/{TASK_ID}", "stdout", 4).data for _ in range(3)] == [b"45", b"45", b""]


def test_only_what_may_pass_is_tried_again() -> None:
    assert is_passing(Unreachable("x"))
    assert not is_passing(Unreachable("x", passing=False))
    assert is_passing(Refused(503, "x"))
    assert not is_passing(Refused(404, "x"))
    assert not is_passing(NoHub("x"))

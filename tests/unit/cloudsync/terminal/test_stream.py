"""Server-sent events, in any cut."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from cloudsync.terminal import stream
from cloudsync.terminal.stream import BadStream, EventParser, ServerEvent

TEXT = (
    '\ufeff: alive\n\nid: 7\r\nevent: output\r\ndata: {"a":1}\r\n\r\ndata:one\ndata: two\n\n'
    "event: nothing\n\nid: 8\rdata: \N{EURO SIGN}\r\revent: end\ndata: {}\n\ndata: cut off"
).encode()
EVENTS = [
    ServerEvent("output", '{"a":1}', "7"),
    ServerEvent("message", "one\ntwo", "7"),
    ServerEvent("message", "\N{EURO SIGN}", "8"),
    ServerEvent("end", "{}", "8"),
]


@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_events_are_the_same_in_any_cut(cuts: list[int]) -> None:
    parser = EventParser()
    found = [event for a, b in pairwise([0, *sorted(cuts), len(TEXT)]) for event in parser.feed(TEXT[a:b])]
    assert found == EVENTS


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_events_are_the_same_with_a_cut_before_any_byte(at: int) -> None:
    parser = EventParser()
    assert [*parser.feed(TEXT[:at]), *parser.feed(TEXT[at:])] == EVENTS


def test_event_without_end_is_refused_instead_of_filling_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "EVENT_LIMIT_CHARS", 100)
    parser = EventParser()
    for _ in range(5):
        parser.feed(b"data: " + b"x" * 50 + b"\n\n")
    parser.feed(b"data: " + b"x" * 60)
    with pytest.raises(BadStream):
        parser.feed(b"x" * 60)

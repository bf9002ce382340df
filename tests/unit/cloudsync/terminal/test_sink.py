"""Each byte of a stream is written once and in order."""

import io
from typing import Any

from hypothesis import given, strategies as st

from cloudsync.terminal.sink import Hole, Sink

DATA = bytes(range(100))


def a_sink(*, live: bool = False) -> tuple[Sink, io.BytesIO]:
    out = io.BytesIO()
    return Sink("stdout", out, live=live), out


@given(spans=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), max_size=20), live=st.booleans())
def test_pieces_that_overlap_and_come_again_are_written_once(spans: list[tuple[int, int]], live: bool) -> None:
    sink, out = a_sink(live=live)
    holes = []
    for start, size in spans:
        holes.append(sink.piece(start, DATA[start : start + size]))
    while (hole := sink.give_up()) is not None:
        holes.append(hole)
    missing = {at for hole in holes if hole is not None for at in range(hole.start, hole.to)}
    assert out.getvalue() == bytes(at for at in range(sink.received) if at not in missing)
    assert sink.offset == sink.received


def test_hole_is_kept_open_until_it_is_filled() -> None:
    sink, out = a_sink()
    sink.piece(0, DATA[:10])
    sink.piece(20, DATA[20:30])
    assert out.getvalue() == DATA[:10]
    assert sink.hole() == Hole("stdout", 10, 20)
    sink.fill(DATA[10:25])
    assert out.getvalue() == DATA[:30]
    assert sink.hole() is None


def test_someone_who_watches_sees_what_follows_a_hole_at_once() -> None:
    sink, out = a_sink(live=True)
    sink.piece(0, DATA[:10])
    assert sink.gap(20) == Hole("stdout", 10, 20)
    assert sink.piece(20, DATA[20:30]) is None
    assert out.getvalue() == DATA[:10] + DATA[20:30]


def test_what_waits_behind_a_hole_is_bounded() -> None:
    sink, out = a_sink()
    big = bytes(5 * 1024 * 1024)
    assert sink.piece(10, big) is None
    assert sink.piece(10 + len(big), big) == Hole("stdout", 0, 10)
    assert len(out.getvalue()) == 2 * len(big)


def test_gap_at_the_end_is_a_hole() -> None:
    sink, _ = a_sink()
    sink.piece(0, DATA[:10])
    assert sink.gap(5) is None
    sink.gap(50)
    assert sink.give_up() == Hole("stdout", 10, 50)


def test_file_that_takes_a_part_at_a_time_gets_all() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any, /) -> int:
            return super().write(data[:3])

    out = Slow()
    Sink("stdout", out).piece(0, DATA)
    assert out.getvalue() == DATA


def test_sink_knows_whether_a_line_has_begun() -> None:
    sink, _ = a_sink()
    assert sink.at_line_start
    sink.piece(0, b"no end")
    assert not sink.at_line_start
    sink.piece(6, b"\n")
    assert sink.at_line_start

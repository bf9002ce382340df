"""What follows on what a watcher has seen."""

import base64

import pytest
from hypothesis import given, strategies as st

from cloudsync.pieces import Piece, Sequence
from cloudsync.spec import Outcome, Output

DATA = bytes(range(100))


def test_outcome_fills_in_what_was_not_seen() -> None:
    seen_by = Sequence()
    seen_by.fit(Piece("stdout", 0, 3, b"abc"))
    rest = seen_by.rest(Outcome(stdout=Output.of(b"abcdef"), stderr=Output.of(b"\xff\x00")))
    assert [(piece.stream, piece.offset, piece.data) for piece in rest] == [
        ("stdout", 3, b"def"),
        ("stderr", 0, b"\xff\x00"),
    ]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (0, [(0, 5, b"head\xff"), (5, 100, None), (100, 105, b"tail\n")]),
        (3, [(3, 5, b"d\xff"), (5, 100, None), (100, 105, b"tail\n")]),
        (50, [(50, 100, None), (100, 105, b"tail\n")]),
        (102, [(102, 105, b"il\n")]),
        (105, []),
    ],
)
def test_cut_outcome_is_shown_with_its_hole_where_it_is(
    seen: int, expected: list[tuple[int, int, bytes | None]]
) -> None:
    seen_by = Sequence()
    seen_by.seen["stdout"] = seen
    text = b"head\xff" + "\n[… 95 bytes left out …]\n".encode() + b"tail\n"
    rest = seen_by.rest(Outcome(stdout=Output.of(text, total_bytes=105, cut_bytes=95)))
    assert [(piece.offset, piece.to, piece.data) for piece in rest] == expected


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40), st.booleans()), max_size=20))
def test_pieces_never_overlap_or_skip_in_silence(given_pieces: list[tuple[int, int, bool]]) -> None:
    order = Sequence()
    at = 0
    for start, size, dropped in given_pieces:
        data = DATA[start : start + size]
        for piece in order.fit(Piece("stdout", start, start + len(data), None if dropped else data)):
            assert piece.offset == at
            assert piece.data is None or piece.data == DATA[piece.offset : piece.to]
            at = piece.to
    assert order.seen["stdout"] == at


def test_nothing_of_a_later_attempt_follows_on_an_earlier_one() -> None:
    order = Sequence()
    order.fit(Piece("stdout", 0, 3, b"abc"))
    order.restart()
    assert (order.is_outdated("stdout"), order.is_outdated("stderr")) == (True, False)
    rest = order.rest(Outcome(stdout=Output.of(b"second"), stderr=Output.of(b"e")))
    assert rest == [Piece("stdout", 0, 6, None), Piece("stderr", 0, 1, b"e")]


def test_watchers_are_told_by_events() -> None:
    assert Piece("stderr", 2, 4, b"ab").event() == (
        "output",
        {"stream": "stderr", "offset": 2, "data_b64": base64.b64encode(b"ab").decode()},
    )
    assert Piece("stdout", 2, 4, None).event() == ("gap", {"stream": "stdout", "from": 2, "to": 4})

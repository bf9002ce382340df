"""What came, what was missed, and what is said of it."""

import base64
import io
from typing import Any

import pytest

from cloudsync.terminal.copy import Copy, Kept
from cloudsync.terminal.sink import Sink, Stream
from cloudsync.terminal.status_line import StatusLine


class Scene:
    """A copy with one sink, what is written and what is said."""

    def __init__(self, kept: Kept | None = None, *, live: bool = False) -> None:
        self.out, self.said = io.BytesIO(), io.StringIO()
        self.kept = kept or Kept(b"", cut=False)
        self.asked: list[int] = []
        sinks: dict[Stream, Sink] = {"stdout": Sink("stdout", self.out, live=live)}
        self.copy = Copy(sinks, StatusLine("operis", self.said), keeper="box", logs="'look'")

    def output(self, offset: int, data: bytes, stream: str = "stdout") -> bool:
        encoded = base64.b64encode(data).decode()
        return self.copy.take("output", {"stream": stream, "offset": offset, "data_b64": encoded})

    def gap(self, start: int, to: int) -> None:
        self.copy.take("gap", {"stream": "stdout", "from": start, "to": to})

    def kept_from(self, stream: Stream, offset: int) -> Kept:
        assert stream == "stdout"
        self.asked.append(offset)
        return self.kept if self.kept.cut else Kept(self.kept.data[offset:], cut=False)

    def complete(self, *, whole: bool = True) -> tuple[bytes, str]:
        self.copy.complete("stdout", self.kept_from, whole=whole)
        self.copy.complete("stderr", self.kept_from, whole=whole)
        return self.out.getvalue(), self.said.getvalue()


def test_what_came_whole_is_not_asked_for_again() -> None:
    scene = Scene()
    assert scene.output(0, b"abc")
    assert not scene.output(0, b"x", stream="stderr")
    assert not scene.output(3, b"")
    assert scene.copy.had == {"from_stdout": 3}
    assert scene.complete() == (b"abc", "")
    assert scene.asked == []


def test_a_hole_is_filled_from_what_is_kept() -> None:
    scene = Scene(Kept(b"0123456789", cut=False))
    scene.output(0, b"012")
    scene.gap(3, 6)
    scene.output(6, b"6789")
    assert scene.complete() == (b"0123456789", "")
    assert scene.asked == [3]


def test_a_hole_in_what_is_cut_is_said() -> None:
    scene = Scene(Kept(b"he\n[cut]\nil", cut=True))
    scene.output(0, b"he")
    scene.gap(2, 100)
    scene.output(100, b"tail")
    out, said = scene.complete()
    assert out == b"hetail"
    assert said.startswith("operis: 98 bytes of stdout from byte 2 on did not come; 'look' prints what the box keeps")


def test_what_is_cut_stands_whole_where_nothing_came() -> None:
    scene = Scene(Kept(b"head\n[cut]\ntail", cut=True))
    assert scene.complete(whole=False) == (b"head\n[cut]\ntail", "")
    scene = Scene(Kept(b"head\n[cut]\ntail", cut=True))
    scene.output(0, b"a longer output than what is kept")
    assert scene.complete(whole=False)[1].startswith("operis: the rest of stdout did not come")


def test_nothing_follows_on_an_earlier_attempt() -> None:
    scene = Scene()
    scene.output(0, b"abc")
    scene.copy.outdate()
    assert not scene.output(3, b"later")
    out, said = scene.complete()
    assert (out, said) == (
        b"abc",
        "operis: this stdout is of an earlier attempt at the task; 'look' prints that of the last\n",
    )
    fresh = Scene()
    fresh.copy.outdate()
    assert fresh.output(0, b"all")


def test_a_gap_before_what_came_is_another_attempt() -> None:
    scene = Scene()
    scene.output(0, b"abc")
    scene.gap(0, 9)
    assert "earlier attempt" in scene.complete()[1]


def test_a_line_that_was_begun_is_known() -> None:
    scene = Scene(live=True)
    assert not scene.copy.is_amid_a_line
    scene.output(0, b"half")
    assert scene.copy.is_amid_a_line


@pytest.mark.parametrize("data", [{}, {"stream": "stdout"}, {"stream": "stdout", "offset": 0, "data_b64": "*"}])
def test_an_event_that_cannot_be_read_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Scene().copy.take("output", data)

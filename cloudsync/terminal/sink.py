"""Where one stream of a task's output goes: exact bytes, each once and in order, whatever comes twice or not at all."""

import sys
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

Stream = Literal["stdout", "stderr"]
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")
# What is kept behind a hole in the hope that the hole can be filled once the task has ended.
HELD_BYTES: Final = 8 * 1024 * 1024


class Out(Protocol):
    """A binary file that is written and flushed."""

    def write(self, data: bytes, /) -> int | None:
        """Write `data` or its beginning; how much."""

    def flush(self) -> object:
        """Hand it on."""


def write_all(out: Out, data: bytes) -> None:
    """Write all of it and hand it on. An unbuffered file (PYTHONUNBUFFERED) may take a part at a time."""
    while data and (written := out.write(data)) is not None:
        data = data[written:]
    out.flush()


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes that did not come; `to` is exclusive."""

    stream: Stream
    start: int
    to: int


@dataclass(slots=True)
class Sink:
    """Writes a stream's pieces. `live`: someone watches, so a hole is passed over at once instead of being kept open.

    Methods that meet a hole which is passed over return it, so that it can be said.
    """

    stream: Stream
    out: Out
    live: bool = False
    offset: int = 0
    """How far it is written."""
    at_line_start: bool = True
    _held: list[tuple[int, bytes]] = field(default_factory=list)
    _held_bytes: int = 0
    _end: int = 0

    @property
    def received(self) -> int:
        """Up to where pieces or announced holes came."""
        return max(self.offset, self._end)

    def piece(self, offset: int, data: bytes) -> Hole | None:
        """Write what is new of these bytes; before a hole keep them."""
        new = data[max(0, self.received - offset) :]
        if not new:
            return None
        start = offset + len(data) - len(new)
        self._end = start + len(new)
        if start == self.offset:
            self._write(new)
            return None
        self._held.append((start, new))
        self._held_bytes += len(new)
        return self.give_up() if self.live or self._held_bytes > HELD_BYTES else None

    def gap(self, to: int) -> Hole | None:
        """The bytes up to `to` were dropped on the way."""
        if to <= self.received:
            return None
        self._end = to
        return self.give_up() if self.live else None

    def hole(self) -> Hole | None:
        """What is missing before the bytes that are kept back, or at the end."""
        if self.offset >= self.received:
            return None
        return Hole(self.stream, self.offset, self._held[0][0] if self._held else self._end)

    def fill(self, data: bytes) -> None:
        """Write bytes that follow on what is written, then what was kept back and follows on them."""
        self._write(data)
        held, self._held, self._held_bytes = self._held, [], 0
        for offset, kept in held:
            self._put_back(offset, kept)

    def _put_back(self, offset: int, data: bytes) -> None:
        new = data[max(0, self.offset - offset) :]
        if not new:
            return
        if offset + len(data) - len(new) == self.offset:
            self._write(new)
        else:
            self._held.append((offset, data))
            self._held_bytes += len(data)

    def give_up(self) -> Hole | None:
        """Pass over the hole and write what follows; the hole, to be said."""
        hole = self.hole()
        if hole is not None:
            self.offset = hole.to
            self.fill(b"")
        return hole

    def _write(self, data: bytes) -> None:
        if data:
            write_all(self.out, data)
            self.offset += len(data)
            self._end = max(self._end, self.offset)
            self.at_line_start = data.endswith(b"\n")


def live_sinks() -> dict[Stream, Sink]:
    """Where a task's output goes: its stdout to ours, its stderr to ours."""
    files = {"stdout": sys.stdout, "stderr": sys.stderr}
    return {name: Sink(name, files[name].buffer, live=files[name].isatty()) for name in STREAMS}

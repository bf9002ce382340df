"""Pieces of a running task's output on their way to one who watches: in order, each byte once, holes announced."""

import base64
from dataclasses import dataclass
from typing import Any, Final

from cloudsync.messages import Stream
from cloudsync.spec import Outcome

STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stream from `offset` on; `data` None: the bytes up to `to` were dropped."""

    stream: Stream
    offset: int
    to: int
    data: bytes | None

    def event(self) -> tuple[str, dict[str, Any]]:
        """Name and data of the event by which a watcher is told."""
        if self.data is None:
            return "gap", {"stream": self.stream, "from": self.offset, "to": self.to}
        encoded = base64.b64encode(self.data).decode()
        return "output", {"stream": self.stream, "offset": self.offset, "data_b64": encoded}


class Sequence:
    """What one watcher has been told of a task's output."""

    def __init__(self) -> None:
        self.seen: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        # Streams of which bytes of an earlier attempt were handed on: those of a later one do not follow on them.
        self._outdated: set[Stream] = set()

    def is_outdated(self, stream: Stream) -> bool:
        """Whether what was handed on is of an earlier attempt: nothing more of the stream may follow."""
        return stream in self._outdated

    def restart(self) -> None:
        """The task is tried again: its output begins anew, and nothing more of it comes where some was handed on."""
        self._outdated |= {stream for stream in STREAMS if self.seen[stream]}

    def fit(self, piece: Piece) -> list[Piece]:
        """Cut off what was seen, announce what is missing before it, and count it as seen."""
        seen = self.seen[piece.stream]
        if piece.to <= seen:
            return []
        fitted = []
        if piece.offset > seen:
            fitted.append(Piece(piece.stream, seen, piece.offset, None))
        if piece.data is None:
            fitted = [Piece(piece.stream, seen, piece.to, None)]
        else:
            start = max(piece.offset, seen)
            fitted.append(Piece(piece.stream, start, piece.to, piece.data[start - piece.offset :]))
        self.seen[piece.stream] = piece.to
        return fitted

    def rest(self, outcome: Outcome) -> list[Piece]:
        """What the outcome has that was not seen live; after bytes of an earlier attempt, a hole."""
        pieces = []
        for stream in STREAMS:
            output = outcome.stdout if stream == "stdout" else outcome.stderr
            if stream in self._outdated:
                pieces.append(Piece(stream, 0, output.total_bytes, None))
                continue
            head, tail = output.ends()
            pieces += self.fit(Piece(stream, 0, len(head), head))
            if output.cut_bytes:
                total = output.total_bytes
                pieces += self.fit(Piece(stream, total - len(tail), total, tail or None))
        return pieces

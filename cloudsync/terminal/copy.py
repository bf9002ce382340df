"""A followed task's output on its way to those who read it: what came, what was missed, and what is known of that."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudsync.terminal.sink import Hole, Sink, Stream
from cloudsync.terminal.status_line import StatusLine


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a stream. `cut`: head, a line about the cut, and tail, instead of the exact bytes."""

    data: bytes
    cut: bool


class Copy:
    """Writes what a task's events bring into its sinks. `keeper` (hub, box) keeps the output, `logs` prints it."""

    def __init__(self, sinks: Mapping[Stream, Sink], status: StatusLine, *, keeper: str, logs: str) -> None:
        self._sinks = sinks
        self._status = status
        self._keeper = keeper
        self._logs = logs
        self._outdated: set[Stream] = set()

    @property
    def had(self) -> dict[str, int]:
        """Where a stream of events has to go on, as its query says it."""
        return {f"from_{stream}": sink.received for stream, sink in self._sinks.items() if sink.received}

    @property
    def is_amid_a_line(self) -> bool:
        """Whether the task has begun a line on this terminal, which must not be rewritten."""
        return any(sink.live and not sink.at_line_start for sink in self._sinks.values())

    def outdate(self) -> None:
        """The task is tried again: what came is of an earlier attempt, and nothing follows on it."""
        self._outdated |= {stream for stream, sink in self._sinks.items() if sink.received}

    def take(self, name: str, data: Mapping[str, Any]) -> bool:
        """Act on an event `output` or `gap`; whether bytes came. `ValueError`, `KeyError` or `TypeError` if broken."""
        sink = self._sinks.get(data["stream"])
        if sink is None or sink.stream in self._outdated:
            return False
        if name == "gap":
            if int(data["from"]) < sink.received:
                self._outdated.add(sink.stream)
            self._say_hole(sink.gap(int(data["to"])))
            return False
        piece = base64.b64decode(data["data_b64"], validate=True)
        if piece:
            self._status.clear()
            self._say_hole(sink.piece(int(data["offset"]), piece))
        return bool(piece)

    def complete(self, stream: Stream, kept_from: Callable[[Stream, int], Kept], *, whole: bool) -> None:
        """Write what did not come live, as far as it is kept; say what is missing. `whole`: events came to the end."""
        sink = self._sinks.get(stream)
        if sink is None:
            return
        if stream in self._outdated:
            sink.give_up()
            self._status.say(
                f"this {stream} is of an earlier attempt at the task; {self._logs} prints that of the last"
            )
            return
        if whole and sink.hole() is None:
            return
        kept = kept_from(stream, sink.offset)
        # Offsets in an output that was cut mean nothing, so all of it or nothing.
        if not kept.cut or sink.received == 0:
            sink.fill(kept.data)
        all_kept = kept.cut and sink.offset == len(kept.data)
        hole = sink.give_up()
        if hole is not None and all_kept:
            self._status.say(
                f"{stream} is cut to what the {self._keeper} keeps: its head, a line about what is left out, its tail"
            )
        elif hole is not None:
            self._say_hole(hole)
        elif kept.cut and not whole and sink.offset > len(kept.data):
            self._status.say(f"the rest of {stream} did not come{self._where_kept()}")

    def _say_hole(self, hole: Hole | None) -> None:
        if hole is not None:
            count = hole.to - hole.start
            where = f"from byte {hole.start} on" if hole.start else "at its start"
            self._status.say(f"{count} bytes of {hole.stream} {where} did not come{self._where_kept()}")

    def _where_kept(self) -> str:
        return f"; {self._logs} prints what the {self._keeper} keeps, its head and its tail where it is long"

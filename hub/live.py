"""Live output of running tasks: a copy in memory for those who watch, asked of the box only while someone does.

Best effort: what is dropped on the way is announced as a gap. The ledgered outcome fills in what the copy lacks.
"""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from cloudsync.messages import OutputChunk, OutputGap, StepReport, Stream
from cloudsync.pieces import STREAMS, Piece, Sequence

# What a late watcher can still get from memory, a stream.
KEEP_BYTES: Final = 1024 * 1024
# A watcher this far behind loses pieces (announced), not the hub its memory; twice what a late one gets at once.
WATCHER_BYTES: Final = 4 * KEEP_BYTES * len(STREAMS)
WATCHER_PIECES: Final = 4096
# Above what a task may have: what is kept of one must have an end.
STEPS_LIMIT: Final = 500


@dataclass(slots=True)
class _Tail:
    start: int = 0
    end: int = 0
    data: bytearray = field(default_factory=bytearray)

    def add(self, offset: int, data: bytes) -> None:
        if offset != self.end:
            self.data.clear()
            self.start = offset
        self.data += data
        self.end = offset + len(data)
        if len(self.data) > 2 * KEEP_BYTES:
            cut = len(self.data) - KEEP_BYTES
            del self.data[:cut]
            self.start += cut


class Watcher(Sequence):
    """One who watches a task: `next` gives what came, each stream in order, holes announced."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: deque[Piece | StepReport] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.ended = False

    def put(self, piece: Piece | StepReport) -> None:
        """Hand on a piece, or lose it where the watcher is too slow: the next one will show the hole."""
        if isinstance(piece, Piece) and self.is_outdated(piece.stream):
            return
        size = _size_bytes(piece)
        if self._bytes + size <= WATCHER_BYTES and len(self._pieces) < WATCHER_PIECES:
            self._bytes += size
            self._pieces.append(piece)
            self._wake.set()

    def restart(self) -> None:
        """The task is tried again: what waits to be handed on is of the earlier attempt."""
        self._pieces.clear()
        self._bytes = 0
        super().restart()

    def end(self) -> None:
        """The task has ended."""
        self.ended = True
        self._wake.set()

    async def next(self) -> list[Piece] | list[StepReport]:
        """The next pieces, cut and completed so that offsets never overlap or skip silently; empty at the end."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._bytes -= _size_bytes(piece)
                if isinstance(piece, StepReport):
                    return [piece]
                if pieces := self.fit(piece):
                    return pieces
            if self.ended:
                return []
            self._wake.clear()
            await self._wake.wait()


def _size_bytes(piece: Piece | StepReport) -> int:
    return 0 if isinstance(piece, StepReport) or piece.data is None else len(piece.data)


class Live:
    """The live copies by task. `follow` and `unfollow` are called when the first comes and the last leaves."""

    def __init__(self) -> None:
        self._tails: dict[str, dict[Stream, _Tail]] = {}
        self._steps: dict[str, dict[int, StepReport]] = {}
        self._watchers: dict[str, set[Watcher]] = {}
        self._box_of: dict[str, str] = {}
        self._attempts: dict[str, int] = {}

    def watched_of(self, box_id: str) -> list[str]:
        """The tasks of a box that someone watches."""
        return [task_id for task_id, owner in self._box_of.items() if owner == box_id]

    def watched(self, task_id: str) -> bool:
        """Whether anyone watches."""
        return task_id in self._watchers

    def offsets(self, task_id: str) -> dict[Stream, int]:
        """Where the copy ends, to follow from there after the box was away."""
        tails = self._tails.get(task_id, {})
        return {stream: tails[stream].end if stream in tails else 0 for stream in STREAMS}

    @asynccontextmanager
    async def watch(
        self, task_id: str, box_id: str, follow: Callable[[], None], unfollow: Callable[[], None], attempt: int = 0
    ) -> AsyncIterator[Watcher]:
        """Watch a task of a box while the context lasts; `attempt` is the one that the ledger knows of."""
        self._box_of[task_id] = box_id
        # The first may be heard before it is ledgered.
        self._attempts.setdefault(task_id, max(1, attempt))
        watcher = Watcher()
        watchers = self._watchers.setdefault(task_id, set())
        watchers.add(watcher)
        if len(watchers) == 1:
            follow()
        for stream, tail in self._tails.get(task_id, {}).items():
            watcher.put(Piece(stream, tail.start, tail.end, bytes(tail.data)))
        for report in self._steps.get(task_id, {}).values():
            watcher.put(report)
        try:
            yield watcher
        finally:
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(task_id, None)
                self._tails.pop(task_id, None)
                self._steps.pop(task_id, None)
                self._box_of.pop(task_id, None)
                self._attempts.pop(task_id, None)
                unfollow()

    def chunk(self, box_id: str, message: OutputChunk) -> None:
        """A piece came from a box; one about another box's task is dropped."""
        if self._box_of.get(message.task_id) != box_id:
            return
        try:
            data = base64.b64decode(message.data_b64, validate=True)
        except ValueError:
            return
        self._tails.setdefault(message.task_id, {}).setdefault(message.stream, _Tail()).add(message.offset, data)
        piece = Piece(message.stream, message.offset, message.offset + len(data), data)
        for watcher in self._watchers[message.task_id]:
            watcher.put(piece)

    def gap(self, box_id: str, message: OutputGap) -> None:
        """A box dropped a piece."""
        if self._box_of.get(message.task_id) != box_id:
            return
        for watcher in self._watchers.get(message.task_id, ()):
            watcher.put(Piece(message.stream, message.from_offset, message.to_offset, None))

    def step(self, box_id: str, report: StepReport) -> None:
        """A step has ended on a box; one that was told before, as after a broken connection, is told once."""
        if self._box_of.get(report.task_id) != box_id or not 0 < report.index <= STEPS_LIMIT:
            return
        told = self._steps.setdefault(report.task_id, {})
        if told.setdefault(report.index, report) is report:
            for watcher in self._watchers[report.task_id]:
                watcher.put(report)

    def attempted(self, task_id: str, attempt: int) -> None:
        """A watched task runs for the n-th time: where that is news, what is kept is of an earlier one."""
        if attempt > self._attempts.get(task_id, attempt):
            self._attempts[task_id] = attempt
            self._tails.pop(task_id, None)
            self._steps.pop(task_id, None)
            for watcher in self._watchers[task_id]:
                watcher.restart()

    def end(self, task_id: str) -> None:
        """The task is final."""
        for watcher in self._watchers.get(task_id, ()):
            watcher.end()

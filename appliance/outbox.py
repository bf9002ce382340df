"""The newest events, ready to be sent: what is in memory need not be read from the journal again."""

from collections import deque
from collections.abc import Callable
from typing import Final

# Several windows of small events; a box that is offline for long reads the rest from its journal.
LIMIT_ENTRIES: Final = 2048
LIMIT_BYTES: Final = 4 * 1024 * 1024


class Outbox:
    """The durable, unacked end of the event log, as far as it fits into memory."""

    def __init__(self, head: int, acked: int) -> None:
        self.head = head
        """The newest durable event."""
        self.acked = acked
        """The newest event that a hub has acked."""
        self.on_added: Callable[[bool], None] | None = None
        """Called after events became durable; True where one of them ends a task."""
        self.on_acked: Callable[[], None] | None = None
        """Called after a hub acked events."""
        self._bodies: deque[str] = deque()
        self._bytes = 0

    @property
    def unsynced(self) -> int:
        """How many events no hub has acked."""
        return self.head - self.acked

    def add(self, from_seq: int, bodies: list[str], *, is_final: bool) -> None:
        """Events from `from_seq`, the next after `head`, became durable."""
        self.head = from_seq + len(bodies) - 1
        self._bodies.extend(bodies)
        self._bytes += sum(map(len, bodies))
        while len(self._bodies) > LIMIT_ENTRIES or self._bytes > LIMIT_BYTES:
            self._bytes -= len(self._bodies.popleft())
        if self.on_added is not None:
            self.on_added(is_final)

    def ack(self, seq: int) -> None:
        """A hub has everything up to `seq`."""
        self.acked = seq
        while self._bodies and self.head - len(self._bodies) < seq:
            self._bytes -= len(self._bodies.popleft())
        if self.on_acked is not None:
            self.on_acked()

    def held(self, first: int, last: int) -> list[str] | None:
        """The bodies of the events `first` to `last`; None where they are no longer in memory."""
        start = first - (self.head - len(self._bodies) + 1)
        if start < 0:
            return None
        if start == 0 and last == self.head:
            return list(self._bodies)
        return [self._bodies[index] for index in range(start, start + last - first + 1)]

    def rebase(self, shift: int) -> None:
        """Another incarnation began: the log counts from 1 again, and nothing of it is acked."""
        self.head -= shift
        self.acked = 0
        self._bodies.clear()
        self._bytes = 0

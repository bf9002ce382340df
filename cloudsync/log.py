"""One direction of the sync: a durable, gapless, numbered log with a cumulative ack.

Theory of operation. The sender's log lives in its database; here are only numbers. `head` is the newest entry that is
committed there, `sent` the newest that this connection has carried, `acked` the newest that the receiver has
committed. Entries are sent once a connection, in order, at most `WINDOW_ENTRIES` unacked; a cut detaches, the next
handshake attaches at what the receiver has and sending starts over from there. Nothing else is ever resent.

The receiver keeps `offered`, the newest entry handed to its database, and `have`, the newest committed. An entry up
to `offered` is old news: it is dropped and acked again. The next one is applied. Anything above is a gap: the
connection is closed, and the next handshake resumes at `have`.

Both ends run both classes: events flow from a box's `Sender` to its hub's `Receiver`, commands the other way.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloudsync.errors import ProtocolViolation

WINDOW_ENTRIES: Final = 256


class Sending(StrEnum):
    """Where a sender is."""

    DETACHED = "detached"  # no session
    IDLE = "idle"  # everything is acked
    WAITING = "waiting"  # everything is sent, some is unacked
    READY = "ready"  # there is something to send and room for it
    FULL = "full"  # there is something to send, but the window is full


class SendInput(StrEnum):
    """What can happen to a sender."""

    ATTACH = "attach"
    APPEND = "append"
    TAKE = "take"
    ACK = "ack"
    DETACH = "detach"


_ATTACHED: Final = frozenset({Sending.IDLE, Sending.WAITING, Sending.READY, Sending.FULL})
_S, _I = Sending, SendInput

# (state, input) -> states it can lead to, the numbers decide which; what is not here may not happen.
SENDER: Final[dict[tuple[Sending, SendInput], frozenset[Sending]]] = {
    (_S.DETACHED, _I.ATTACH): frozenset({_S.IDLE, _S.READY}),
    (_S.DETACHED, _I.APPEND): frozenset({_S.DETACHED}),
    (_S.DETACHED, _I.DETACH): frozenset({_S.DETACHED}),
    (_S.IDLE, _I.APPEND): frozenset({_S.READY}),
    (_S.IDLE, _I.ACK): frozenset({_S.IDLE}),
    (_S.WAITING, _I.APPEND): frozenset({_S.READY, _S.FULL}),
    (_S.WAITING, _I.ACK): frozenset({_S.WAITING, _S.IDLE}),
    (_S.READY, _I.APPEND): frozenset({_S.READY}),
    (_S.READY, _I.TAKE): frozenset({_S.READY, _S.WAITING, _S.FULL}),
    (_S.READY, _I.ACK): frozenset({_S.READY}),
    (_S.FULL, _I.APPEND): frozenset({_S.FULL}),
    (_S.FULL, _I.ACK): frozenset({_S.FULL, _S.READY}),
    **{(state, _I.DETACH): frozenset({_S.DETACHED}) for state in _ATTACHED},
}


class Sender:
    """The sending end of one log. All arguments are seqs; entries themselves stay in the database."""

    def __init__(self, *, head: int, window: int = WINDOW_ENTRIES) -> None:
        self.head = head
        self.acked = 0
        self.sent = 0
        self.window = window
        self.state = Sending.DETACHED

    def attach(self, peer_has: int) -> None:
        """A session is live and the receiver has everything up to `peer_has`."""
        if peer_has > self.head:
            raise ProtocolViolation(f"the receiver has entry {peer_has}, the newest that exists is {self.head}")
        self.acked = self.sent = peer_has
        self._step(SendInput.ATTACH, _S.READY if self.head > self.sent else _S.IDLE)

    def append(self, head: int) -> None:
        """The log was committed up to `head`."""
        if head <= self.head:
            return
        self.head = head
        self._step(SendInput.APPEND, self._where())

    def range(self) -> tuple[int, int] | None:
        """The first and last seq that may be sent now, or None."""
        if self.state is not Sending.READY:
            return None
        return self.sent + 1, min(self.head, self.acked + self.window)

    def take(self, last: int) -> None:
        """The entries up to `last` go out on this connection."""
        allowed = self.range()
        if allowed is None or not allowed[0] <= last <= allowed[1]:
            raise ProtocolViolation(f"entry {last} may not be sent in state {self.state}")
        self.sent = last
        self._step(SendInput.TAKE, self._where())

    def ack(self, seq: int) -> bool:
        """The receiver has committed up to `seq`; whether that is news."""
        if seq > self.sent:
            raise ProtocolViolation(f"ack of entry {seq}, the newest sent is {self.sent}")
        news = seq > self.acked
        if news:
            self.acked = seq
        self._step(SendInput.ACK, self._where())
        return news

    def detach(self) -> None:
        """The session is over."""
        self._step(SendInput.DETACH, Sending.DETACHED)

    def _where(self) -> Sending:
        if self.state is Sending.DETACHED:
            return Sending.DETACHED
        if self.sent < self.head:
            return Sending.FULL if self.sent - self.acked >= self.window else Sending.READY
        return Sending.IDLE if self.acked == self.head else Sending.WAITING

    def _step(self, happened: SendInput, to: Sending) -> None:
        if to not in SENDER.get((self.state, happened), frozenset()):
            raise ProtocolViolation(f"a sender that is {self.state} cannot {happened} and be {to}")
        self.state = to


class Receiving(StrEnum):
    """Where a receiver is."""

    SETTLED = "settled"  # everything offered is committed
    COMMITTING = "committing"  # some is on its way into the database
    BROKEN = "broken"  # a gap was seen: this connection is done for


class ReceiveInput(StrEnum):
    """What can happen to a receiver."""

    OLD = "old"  # a batch that brings nothing new
    NEXT = "next"  # a batch whose tail is the next entries
    GAP = "gap"  # a batch that starts above the next entry
    COMMITTED = "committed"


_R, _J = Receiving, ReceiveInput

RECEIVER: Final[dict[tuple[Receiving, ReceiveInput], frozenset[Receiving]]] = {
    (_R.SETTLED, _J.OLD): frozenset({_R.SETTLED}),
    (_R.SETTLED, _J.NEXT): frozenset({_R.COMMITTING}),
    (_R.SETTLED, _J.GAP): frozenset({_R.BROKEN}),
    (_R.COMMITTING, _J.OLD): frozenset({_R.COMMITTING}),
    (_R.COMMITTING, _J.NEXT): frozenset({_R.COMMITTING}),
    (_R.COMMITTING, _J.GAP): frozenset({_R.BROKEN}),
    (_R.COMMITTING, _J.COMMITTED): frozenset({_R.COMMITTING, _R.SETTLED}),
    (_R.BROKEN, _J.COMMITTED): frozenset({_R.BROKEN}),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What to do with a batch: skip its first `skip` entries and apply the rest, or, with nothing left, ack `have`."""

    skip: int
    apply_from: int | None
    reack: int | None


class Receiver:
    """The receiving end of one log."""

    def __init__(self, *, have: int) -> None:
        self.have = have
        self.offered = have
        self.state = Receiving.SETTLED

    def offer(self, from_seq: int, count: int) -> Offer:
        """A batch came; `ProtocolViolation` on a gap, after which the connection must be closed."""
        last = from_seq + count - 1
        if from_seq > self.offered + 1:
            self._step(ReceiveInput.GAP, Receiving.BROKEN)
            raise ProtocolViolation(f"a gap: entry {from_seq} came, {self.offered + 1} is next")
        if last <= self.offered:
            self._step(ReceiveInput.OLD, self.state)
            return Offer(skip=count, apply_from=None, reack=self.have)
        skip = self.offered + 1 - from_seq
        first = self.offered + 1
        self.offered = last
        self._step(ReceiveInput.NEXT, Receiving.COMMITTING)
        return Offer(skip=skip, apply_from=first, reack=None)

    def committed(self, seq: int) -> int:
        """The database holds everything up to `seq`; returns what to ack."""
        self.have = max(self.have, seq)
        if self.state is Receiving.BROKEN:
            to = Receiving.BROKEN
        else:
            to = Receiving.SETTLED if self.have == self.offered else Receiving.COMMITTING
        self._step(ReceiveInput.COMMITTED, to)
        return self.have

    def _step(self, happened: ReceiveInput, to: Receiving) -> None:
        if to not in RECEIVER.get((self.state, happened), frozenset()):
            raise ProtocolViolation(f"a receiver that is {self.state} cannot take '{happened}' and be {to}")
        self.state = to

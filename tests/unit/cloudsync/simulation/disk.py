"""The disks of a box and its hub, and what is known for certain about who has seen what.

The state machines, the wire and the signatures of a simulation are the real ones; databases are modelled. A `Writer`
is a database's writer: what is submitted commits in order and later, and a crash loses a tail of it.

`Journal.history` is what no real box has: a unique mark for each thing that its journal came to know. A copy that was
rolled back or went its own way lacks a mark that the hub has evidence of, so whether a copy may hold the session is
known here for certain, without the numbers that `fence.judge` has to decide by.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from cloudsync.fence import Known, Standing

# Evidence that a journal once was at a mark: how many marks it had, and the last of them.
Witness = tuple[int, int]
NOTHING: Final[Witness] = (0, 0)

Result = TypeVar("Result")


_numbers = itertools.count(1)


def fresh() -> int:
    """A number that was never given before."""
    return next(_numbers)


class Writer:
    """What is submitted commits in order, each with its `then`; `crash` keeps a head of it and tells nobody."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Callable[[], object], Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, transact: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Queue a transaction; `then` gets its result once it is durable."""
        results: list[Result] = []
        self._pending.append((lambda: results.append(transact()), lambda: then(results[0])))

    def commit(self) -> None:
        """Make the oldest transaction durable and tell who waits for it."""
        transact, then = self._pending.popleft()
        transact()
        then()

    def crash(self, kept: int) -> None:
        """The process dies: the oldest `kept` transactions are durable, all others are gone."""
        for transact, _ in itertools.islice(self._pending, kept):
            transact()
        self._pending.clear()


@dataclass
class Journal:
    """What a box has on its disk. Commands and events stand at their seq less one; events are their ids."""

    incarnation: str
    session: int = 0
    last: int = 0
    acked: int = 0
    commands: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    seen: dict[tuple[str, int], Witness] = field(default_factory=dict)

    def mark(self, what: str, number: int) -> None:
        """The journal now holds this for good."""
        self.history.append(fresh())
        self.seen[what, number] = (len(self.history), self.history[-1])

    def continues(self, witness: Witness) -> bool:
        """Whether this journal was once where the witness saw it."""
        length, mark = witness
        return length == 0 or (len(self.history) >= length and self.history[length - 1] == mark)

    def copy(self) -> "Journal":
        """What a copy of the disk holds."""
        events, history = list(self.events), list(self.history)
        return replace(self, commands=list(self.commands), events=events, history=history, seen=dict(self.seen))


@dataclass
class Row:
    """What the hub has on its disk about the one box; `log` is None where a restored hub lacks a command."""

    standing: Standing = Standing.ACTIVE
    incarnation: str | None = None
    closed: frozenset[str] = frozenset()
    fence: int = 0
    settled: int = 0
    acked: int = 0
    released: str | None = None
    waiting: list[str] = field(default_factory=list)
    log: list[str | None] = field(default_factory=list)
    chronicle: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    witness: Witness = NOTHING

    def known(self) -> Known:
        """What `judge` is given."""
        return Known(
            standing=self.standing,
            incarnation=self.incarnation,
            closed_incarnations=self.closed,
            fence=self.fence,
            settled=self.settled,
            command_seq=len(self.log),
            acked_command_seq=self.acked,
            event_seq=len(self.chronicle),
            released_copy=self.released,
        )

    def saw(self, journal: Journal, what: str, number: int) -> None:
        """The hub now holds evidence that the journal had this."""
        assert journal.continues(self.witness), "a copy that is not the box told the hub something"
        self.witness = max(self.witness, journal.seen.get((what, number), NOTHING))

    def copy(self) -> "Row":
        """What a backup holds."""
        chronicle, ledger = list(self.chronicle), list(self.ledger)
        return replace(self, waiting=list(self.waiting), log=list(self.log), chronicle=chronicle, ledger=ledger)

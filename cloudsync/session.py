"""The handshake and life of one connection, for both ends.

Theory of operation. The hub speaks first (`challenge`). The box commits a session number above all it used before,
then says `hello`; the hub judges it in one transaction (`fence.judge`) and answers `welcome`, `stale` or `denied`.
The box compares the ledger's newest event with its own, commits `last` = this session, and confirms with `settled`;
from then on both logs flow. Messages that a state does not name are violations and end the connection; nothing is
lost by that, since both logs resume from what is committed.

`Box` and `Hub` below are the same machine over two tables.
"""

from enum import StrEnum
from typing import Final, Generic, TypeVar

from cloudsync.errors import ProtocolViolation
from cloudsync.messages import FromBox, FromHub


class Box(StrEnum):
    """Where the box's end is."""

    AWAITING_CHALLENGE = "awaiting_challenge"
    COMMITTING_SESSION = "committing_session"
    AWAITING_VERDICT = "awaiting_verdict"
    COMMITTING_LAST = "committing_last"
    LIVE = "live"
    CLOSED = "closed"


class Hub(StrEnum):
    """Where the hub's end is."""

    AWAITING_HELLO = "awaiting_hello"
    JUDGING = "judging"
    AWAITING_SETTLED = "awaiting_settled"
    LIVE = "live"
    CLOSED = "closed"


# Inputs are the types of the peer's messages, and in capitals what this end itself has done.
COMMITTED: Final = "COMMITTED"
ROLLED_BACK: Final = "ROLLED_BACK"
WELCOMED: Final = "WELCOMED"
DENIED: Final = "DENIED"
CUT: Final = "CUT"

BOX: Final[dict[tuple[Box, str], Box]] = {
    (Box.AWAITING_CHALLENGE, "challenge"): Box.COMMITTING_SESSION,
    (Box.COMMITTING_SESSION, COMMITTED): Box.AWAITING_VERDICT,
    (Box.AWAITING_VERDICT, "welcome"): Box.COMMITTING_LAST,
    (Box.AWAITING_VERDICT, "stale"): Box.CLOSED,
    (Box.AWAITING_VERDICT, "denied"): Box.CLOSED,
    (Box.COMMITTING_LAST, COMMITTED): Box.LIVE,
    (Box.COMMITTING_LAST, ROLLED_BACK): Box.CLOSED,
    (Box.LIVE, "commands"): Box.LIVE,
    (Box.LIVE, "ack"): Box.LIVE,
    (Box.LIVE, "desired"): Box.LIVE,
    (Box.LIVE, "follow"): Box.LIVE,
    (Box.LIVE, "unfollow"): Box.LIVE,
    (Box.LIVE, "pulse"): Box.LIVE,
    (Box.LIVE, "denied"): Box.CLOSED,
    **{(state, "bye"): Box.CLOSED for state in Box if state is not Box.CLOSED},
    **{(state, CUT): Box.CLOSED for state in Box},
}

HUB: Final[dict[tuple[Hub, str], Hub]] = {
    (Hub.AWAITING_HELLO, "hello"): Hub.JUDGING,
    (Hub.JUDGING, WELCOMED): Hub.AWAITING_SETTLED,
    (Hub.JUDGING, DENIED): Hub.CLOSED,
    (Hub.AWAITING_SETTLED, "settled"): Hub.LIVE,
    (Hub.AWAITING_SETTLED, "rolled_back"): Hub.CLOSED,
    (Hub.LIVE, "events"): Hub.LIVE,
    (Hub.LIVE, "ack"): Hub.LIVE,
    (Hub.LIVE, "output"): Hub.LIVE,
    (Hub.LIVE, "gap"): Hub.LIVE,
    (Hub.LIVE, "step"): Hub.LIVE,
    (Hub.LIVE, "pulse"): Hub.LIVE,
    **{(state, CUT): Hub.CLOSED for state in Hub},
}

State = TypeVar("State", bound=StrEnum)


class Session(Generic[State]):
    """One end of a connection: `receive` a message or note what was `done`; both return the new state."""

    def __init__(self, table: dict[tuple[State, str], State], state: State) -> None:
        self._table = table
        self.state = state

    def receive(self, message: FromBox | FromHub) -> State:
        """The peer sent this; `ProtocolViolation` where the state does not allow it."""
        return self.done(message.type)

    def done(self, happened: str) -> State:
        """Take the transition for `happened`; `ProtocolViolation` names the inputs that would be allowed."""
        to = self._table.get((self.state, happened))
        if to is None:
            allowed = ", ".join(sorted(name for state, name in self._table if state is self.state and name.islower()))
            raise ProtocolViolation(f"'{happened}' while {self.state}; allowed here: {allowed or 'nothing'}")
        self.state = to
        return to


def box_session() -> Session[Box]:
    """The box's end, before the first frame."""
    return Session(BOX, Box.AWAITING_CHALLENGE)


def hub_session() -> Session[Hub]:
    """The hub's end, when its challenge is sent."""
    return Session(HUB, Hub.AWAITING_HELLO)

"""The hub's judgement of a hello: which copy of a box may hold its session.

Theory of operation. A box is a key, a journal and a counter. The key says who it is; the counter (`session`, committed
before every hello) is the fence that keeps late frames and second copies out; the journal's numbers show whether this
copy has seen all that the hub knows it has seen. A copy that knows less than the hub is a clone or was rolled back and
gets no work until an operator decides. A copy that knows more means that the hub itself was restored.
"""

from dataclasses import dataclass
from enum import StrEnum

from cloudsync.messages import Hello


class Standing(StrEnum):
    """What an operator or the hub has decided about a box."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub's row says of a box."""

    standing: Standing
    incarnation: str | None
    closed_incarnations: frozenset[str]
    fence: int
    settled: int
    command_seq: int
    acked_command_seq: int
    event_seq: int
    released_copy: str | None


class Ruling(StrEnum):
    """What becomes of the hello; the first that applies, in this order."""

    REVOKED = "revoked"
    BEGIN_ANEW = "begin_anew"  # released: this copy, and only it, is told to start a new incarnation
    QUARANTINE = "quarantine"
    ADOPT = "adopt"  # a new incarnation: the old one is closed, both logs start at 0
    STALE = "stale"
    CONTINUE = "continue"
    RESTORED = "restored"  # the hub was restored: it continues from the box's numbers


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ruling and, for people, why. `copy_only`: the copy is shut out, the box itself stays as it is."""

    ruling: Ruling
    why: str = ""
    copy_only: bool = False


def copy_id(hello: Hello) -> str:
    """Names one presented copy of a box: its incarnation, the newest session it had settled, its hardware."""
    return f"{hello.incarnation}.{hello.last}.{_hardware(hello)}"


def _hardware(hello: Hello) -> str:
    return hello.hwid[:12]


def _is_hardware_of(hello: Hello, copy: str) -> bool:
    """Whether the hello is from where this copy was presented; a copy that has begun anew keeps only its hardware."""
    return copy.split(".", 2)[-1] == _hardware(hello)


def judge(known: Known, hello: Hello) -> Verdict:
    """Decide on a hello whose signature is good. No side effect; the caller writes the result in one transaction."""
    if known.standing is Standing.REVOKED:
        return Verdict(Ruling.REVOKED, "the box was revoked")
    if known.released_copy is not None and known.released_copy == copy_id(hello):
        return Verdict(Ruling.BEGIN_ANEW, "an operator released this copy")
    if hello.incarnation in known.closed_incarnations:
        why = "its incarnation was closed: another copy of this box has taken over"
        return Verdict(Ruling.QUARANTINE, why, copy_only=True)
    shut = known.standing is Standing.QUARANTINED
    if hello.incarnation != known.incarnation:
        if hello.last or hello.command_seq:
            return Verdict(Ruling.QUARANTINE, "its incarnation is unknown and its journal is not empty")
        if shut and known.released_copy is None:
            return Verdict(Ruling.QUARANTINE, "the box is quarantined and no copy of it was released")
        if shut and known.released_copy is not None and not _is_hardware_of(hello, known.released_copy):
            return Verdict(Ruling.QUARANTINE, "the box is quarantined and this copy of it was not released")
        return Verdict(Ruling.ADOPT, "a new incarnation") if hello.session > known.fence else Verdict(Ruling.STALE)
    if shut:
        return Verdict(Ruling.QUARANTINE, "the box is quarantined and this copy of it was not released")
    if hello.session <= known.fence:
        return Verdict(Ruling.STALE)
    if hello.last < known.settled:
        return Verdict(Ruling.QUARANTINE, f"it last settled session {hello.last}, the hub knows of {known.settled}")
    if hello.command_seq < known.acked_command_seq:
        why = f"it holds commands up to {hello.command_seq}, it had acked {known.acked_command_seq}"
        return Verdict(Ruling.QUARANTINE, why)
    if hello.event_seq < known.event_seq:
        why = f"it holds events up to {hello.event_seq}, the ledger has {known.event_seq}"
        return Verdict(Ruling.QUARANTINE, why)
    # A hub commits a session before it welcomes it: one that it does not know of was given out by what it forgot.
    forgot_session = hello.last > known.fence
    if forgot_session or hello.command_seq > known.command_seq or hello.acked_event_seq > known.event_seq:
        return Verdict(Ruling.RESTORED, "the box knows more than the hub: the hub was restored from a backup")
    return Verdict(Ruling.CONTINUE)

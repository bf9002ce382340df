"""The handshake and life of a connection: both tables, cell by cell, and the messages that drive them."""

import itertools
import re
from enum import StrEnum
from typing import Any, get_args

import pytest

from cloudsync.errors import ProtocolViolation
from cloudsync.messages import Ack, Bye, Challenge, Denied, FromBox, FromHub, Message, Pulse, Welcome
from cloudsync.session import (
    BOX,
    COMMITTED,
    CUT,
    DENIED,
    HUB,
    ROLLED_BACK,
    WELCOMED,
    Box,
    Hub,
    Session,
    box_session,
    hub_session,
)

B, H = Box, Hub


def types(union: Any) -> set[str]:
    """The type names of a union of messages."""
    members: tuple[type[Message], ...] = get_args(get_args(union)[0])
    return {member.model_fields["type"].default for member in members}


# Both tables of the design, written out again: state -> what may happen -> where that leads.
BOX_MAY: dict[Box, dict[str, Box]] = {
    B.AWAITING_CHALLENGE: {"challenge": B.COMMITTING_SESSION, "bye": B.CLOSED, CUT: B.CLOSED},
    B.COMMITTING_SESSION: {COMMITTED: B.AWAITING_VERDICT, "bye": B.CLOSED, CUT: B.CLOSED},
    B.AWAITING_VERDICT: {
        "welcome": B.COMMITTING_LAST,
        "stale": B.CLOSED,
        "denied": B.CLOSED,
        "bye": B.CLOSED,
        CUT: B.CLOSED,
    },
    B.COMMITTING_LAST: {COMMITTED: B.LIVE, ROLLED_BACK: B.CLOSED, "bye": B.CLOSED, CUT: B.CLOSED},
    B.LIVE: dict.fromkeys(("commands", "ack", "desired", "follow", "unfollow", "pulse"), B.LIVE)
    | dict.fromkeys(("denied", "bye", CUT), B.CLOSED),
    B.CLOSED: {CUT: B.CLOSED},
}
HUB_MAY: dict[Hub, dict[str, Hub]] = {
    H.AWAITING_HELLO: {"hello": H.JUDGING, CUT: H.CLOSED},
    H.JUDGING: {WELCOMED: H.AWAITING_SETTLED, DENIED: H.CLOSED, CUT: H.CLOSED},
    H.AWAITING_SETTLED: {"settled": H.LIVE, "rolled_back": H.CLOSED, CUT: H.CLOSED},
    H.LIVE: dict.fromkeys(("events", "ack", "output", "gap", "step", "pulse"), H.LIVE) | {CUT: H.CLOSED},
    H.CLOSED: {CUT: H.CLOSED},
}
DONE = {COMMITTED, ROLLED_BACK, WELCOMED, DENIED, CUT}
ALL = sorted(types(FromBox) | types(FromHub) | DONE)


def check_cell(session: Session[Any], state: StrEnum, happened: str, to: StrEnum | None) -> None:
    session.state = state
    if to is None:
        with pytest.raises(ProtocolViolation, match=f"'{happened}' while {state}"):
            session.done(happened)
        assert session.state is state
    else:
        assert session.done(happened) is to
        assert session.state is to


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(B, ALL)))
def test_a_boxs_end_goes_as_the_design_says_and_in_no_other_way(state: Box, happened: str) -> None:
    check_cell(box_session(), state, happened, BOX_MAY[state].get(happened))


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(H, ALL)))
def test_a_hubs_end_goes_as_the_design_says_and_in_no_other_way(state: Hub, happened: str) -> None:
    check_cell(hub_session(), state, happened, HUB_MAY[state].get(happened))


def test_each_message_of_the_hub_is_understood_somewhere_by_the_box() -> None:
    assert {happened for _, happened in BOX} - DONE == types(FromHub)


def test_each_message_of_the_box_is_understood_somewhere_by_the_hub() -> None:
    assert {happened for _, happened in HUB} - DONE == types(FromBox)


def test_no_message_can_pass_for_what_an_end_itself_has_done() -> None:
    assert not DONE & (types(FromBox) | types(FromHub))


def test_a_session_begins_before_the_first_frame_and_follows_the_messages() -> None:
    session = box_session()
    assert session.state is B.AWAITING_CHALLENGE
    assert session.receive(Challenge(nonce="n", hub="h")) is B.COMMITTING_SESSION
    assert session.done(COMMITTED) is B.AWAITING_VERDICT
    assert session.receive(Welcome(session=1, event_seq=0)) is B.COMMITTING_LAST
    assert session.done(COMMITTED) is B.LIVE
    assert session.receive(Pulse(now_ms=0)) is B.LIVE
    assert session.receive(Bye()) is B.CLOSED
    assert hub_session().state is H.AWAITING_HELLO


def test_a_violation_names_the_messages_that_would_be_allowed() -> None:
    allowed = "'ack' while awaiting_verdict; allowed here: bye, denied, stale, welcome"
    session = box_session()
    session.state = B.AWAITING_VERDICT
    with pytest.raises(ProtocolViolation, match=re.escape(allowed)):
        session.receive(Ack(seq=1))


def test_a_closed_session_says_that_nothing_is_allowed() -> None:
    session = box_session()
    session.done(CUT)
    with pytest.raises(ProtocolViolation, match="allowed here: nothing"):
        session.receive(Denied(code="revoked", message="m"))

"""The two ends of one log: each transition of their tables, and what may not happen."""

import itertools
from collections.abc import Callable

import pytest

from cloudsync.errors import ProtocolViolation
from cloudsync.log import (
    RECEIVER,
    SENDER,
    WINDOW_ENTRIES,
    Offer,
    ReceiveInput,
    Receiver,
    Receiving,
    Sender,
    Sending,
    SendInput,
)

S, H = Sending, SendInput
R, J = Receiving, ReceiveInput


def sender(state: Sending) -> Sender:
    """One with a window of 4 in this state; its receiver has 10 entries."""
    made = Sender(head=10, window=4)
    if state is S.DETACHED:
        return made
    made.attach(10)
    if state is S.IDLE:
        return made
    made.append({S.READY: 13, S.WAITING: 13, S.FULL: 16}[state])
    if state is not S.READY:
        made.take({S.WAITING: 13, S.FULL: 14}[state])
    assert made.state is state
    return made


# Each way through the table: from, what happens, to, and how to make it happen.
SENDER_STEPS: list[tuple[Sending, SendInput, Sending, Callable[[Sender], object]]] = [
    (S.DETACHED, H.ATTACH, S.IDLE, lambda s: s.attach(10)),
    (S.DETACHED, H.ATTACH, S.READY, lambda s: s.attach(9)),
    (S.DETACHED, H.APPEND, S.DETACHED, lambda s: s.append(11)),
    (S.DETACHED, H.DETACH, S.DETACHED, lambda s: s.detach()),
    (S.IDLE, H.APPEND, S.READY, lambda s: s.append(11)),
    (S.IDLE, H.ACK, S.IDLE, lambda s: s.ack(10)),
    (S.IDLE, H.DETACH, S.DETACHED, lambda s: s.detach()),
    (S.WAITING, H.APPEND, S.READY, lambda s: s.append(14)),
    (S.WAITING, H.ACK, S.WAITING, lambda s: s.ack(12)),
    (S.WAITING, H.ACK, S.IDLE, lambda s: s.ack(13)),
    (S.WAITING, H.DETACH, S.DETACHED, lambda s: s.detach()),
    (S.READY, H.APPEND, S.READY, lambda s: s.append(14)),
    (S.READY, H.TAKE, S.READY, lambda s: s.take(11)),
    (S.READY, H.TAKE, S.WAITING, lambda s: s.take(13)),
    (S.READY, H.ACK, S.READY, lambda s: s.ack(10)),
    (S.READY, H.DETACH, S.DETACHED, lambda s: s.detach()),
    (S.FULL, H.APPEND, S.FULL, lambda s: s.append(17)),
    (S.FULL, H.ACK, S.FULL, lambda s: s.ack(10)),
    (S.FULL, H.ACK, S.READY, lambda s: s.ack(11)),
    (S.FULL, H.DETACH, S.DETACHED, lambda s: s.detach()),
]


@pytest.mark.parametrize(("state", "happened", "to", "step"), SENDER_STEPS)
def test_a_sender_goes_where_its_table_says(
    state: Sending, happened: SendInput, to: Sending, step: Callable[[Sender], object]
) -> None:
    made = sender(state)
    step(made)
    assert made.state is to
    assert to in SENDER[state, happened]


def test_a_sender_with_a_full_window_waits_with_what_is_appended() -> None:
    made = Sender(head=4, window=4)
    made.attach(0)
    made.take(4)
    made.append(5)
    assert made.state is S.FULL
    made.detach()
    made.attach(0)
    made.take(4)
    assert made.state is S.FULL


def test_each_transition_of_the_senders_table_is_taken_above() -> None:
    taken = {(state, happened, to) for state, happened, to, _ in SENDER_STEPS}
    taken |= {(S.WAITING, H.APPEND, S.FULL), (S.READY, H.TAKE, S.FULL)}
    assert taken == {(state, happened, to) for (state, happened), targets in SENDER.items() for to in targets}


SENDER_CALLS: dict[SendInput, Callable[[Sender], object]] = {
    H.ATTACH: lambda s: s.attach(s.head),
    H.APPEND: lambda s: s.append(s.head + 1),
    H.TAKE: lambda s: s.take(s.sent + 1),
    H.ACK: lambda s: s.ack(s.sent),
    H.DETACH: lambda s: s.detach(),
}


@pytest.mark.parametrize(("state", "happened"), sorted(set(itertools.product(S, H)) - set(SENDER)))
def test_what_the_senders_table_lacks_is_a_violation(state: Sending, happened: SendInput) -> None:
    made = sender(state)
    with pytest.raises(ProtocolViolation):
        SENDER_CALLS[happened](made)
    assert made.state is state


@pytest.mark.parametrize("state", [state for state in S if state is not S.READY])
def test_only_a_ready_sender_names_what_may_be_sent(state: Sending) -> None:
    assert sender(state).range() is None


def test_a_sender_offers_at_most_its_window() -> None:
    made = Sender(head=10_000)
    made.attach(100)
    assert made.range() == (101, 100 + WINDOW_ENTRIES)
    made.take(101)
    assert made.range() == (102, 100 + WINDOW_ENTRIES)
    made.ack(101)
    assert made.range() == (102, 101 + WINDOW_ENTRIES)


def test_a_cut_makes_a_sender_start_over_from_what_the_receiver_has() -> None:
    made = sender(S.WAITING)
    made.ack(11)
    made.detach()
    made.attach(12)
    assert (made.acked, made.range()) == (12, (13, 13))


def test_a_receiver_that_was_restored_gets_old_entries_again() -> None:
    made = sender(S.WAITING)
    made.detach()
    made.attach(3)
    assert made.range() == (4, 7)


def test_a_receiver_cannot_have_more_than_there_is() -> None:
    made = sender(S.DETACHED)
    with pytest.raises(ProtocolViolation, match="the newest that exists is 10"):
        made.attach(11)
    assert made.state is S.DETACHED


@pytest.mark.parametrize("last", [10, 14])
def test_a_sender_takes_only_what_it_offered(last: int) -> None:
    made = sender(S.READY)
    assert made.range() == (11, 13)
    with pytest.raises(ProtocolViolation, match=f"entry {last} may not be sent"):
        made.take(last)


def test_an_ack_of_what_was_not_sent_is_a_violation() -> None:
    made = sender(S.READY)
    with pytest.raises(ProtocolViolation, match="the newest sent is 10"):
        made.ack(11)
    assert made.acked == 10


def test_an_ack_is_news_once_and_never_goes_back() -> None:
    made = sender(S.WAITING)
    assert made.ack(12)
    assert not made.ack(12)
    assert not made.ack(11)
    assert made.acked == 12


def test_an_append_that_adds_nothing_changes_nothing() -> None:
    made = sender(S.IDLE)
    made.append(10)
    made.append(9)
    assert (made.head, made.state) == (10, S.IDLE)


def receiver(state: Receiving) -> Receiver:
    """One in this state that has 10 entries."""
    made = Receiver(have=10)
    if state is R.COMMITTING:
        made.offer(11, 3)
    if state is R.BROKEN:
        with pytest.raises(ProtocolViolation):
            made.offer(12, 1)
    assert made.state is state
    return made


def gap(made: Receiver) -> None:
    with pytest.raises(ProtocolViolation, match="a gap"):
        made.offer(made.offered + 2, 1)


RECEIVER_STEPS: list[tuple[Receiving, ReceiveInput, Receiving, Callable[[Receiver], object]]] = [
    (R.SETTLED, J.OLD, R.SETTLED, lambda r: r.offer(10, 1)),
    (R.SETTLED, J.NEXT, R.COMMITTING, lambda r: r.offer(11, 1)),
    (R.SETTLED, J.GAP, R.BROKEN, gap),
    (R.COMMITTING, J.OLD, R.COMMITTING, lambda r: r.offer(11, 3)),
    (R.COMMITTING, J.NEXT, R.COMMITTING, lambda r: r.offer(14, 1)),
    (R.COMMITTING, J.GAP, R.BROKEN, gap),
    (R.COMMITTING, J.COMMITTED, R.COMMITTING, lambda r: r.committed(12)),
    (R.COMMITTING, J.COMMITTED, R.SETTLED, lambda r: r.committed(13)),
    (R.BROKEN, J.COMMITTED, R.BROKEN, lambda r: r.committed(11)),
]


@pytest.mark.parametrize(("state", "happened", "to", "step"), RECEIVER_STEPS)
def test_a_receiver_goes_where_its_table_says(
    state: Receiving, happened: ReceiveInput, to: Receiving, step: Callable[[Receiver], object]
) -> None:
    made = receiver(state)
    step(made)
    assert made.state is to
    assert to in RECEIVER[state, happened]


def test_each_transition_of_the_receivers_table_is_taken_above() -> None:
    taken = {(state, happened, to) for state, happened, to, _ in RECEIVER_STEPS}
    assert taken == {(state, happened, to) for (state, happened), targets in RECEIVER.items() for to in targets}


RECEIVER_CALLS: dict[ReceiveInput, Callable[[Receiver], object]] = {
    J.OLD: lambda r: r.offer(1, 1),
    J.NEXT: lambda r: r.offer(r.offered + 1, 1),
    J.GAP: lambda r: r.offer(r.offered + 2, 1),
    J.COMMITTED: lambda r: r.committed(r.offered),
}


@pytest.mark.parametrize(("state", "happened"), sorted(set(itertools.product(R, J)) - set(RECEIVER)))
def test_what_the_receivers_table_lacks_is_a_violation(state: Receiving, happened: ReceiveInput) -> None:
    made = receiver(state)
    with pytest.raises(ProtocolViolation):
        RECEIVER_CALLS[happened](made)
    assert made.state is state


@pytest.mark.parametrize(
    ("from_seq", "count", "offer"),
    [
        (11, 2, Offer(skip=0, apply_from=11, reack=None)),
        (10, 2, Offer(skip=1, apply_from=11, reack=None)),
        (1, 11, Offer(skip=10, apply_from=11, reack=None)),
        (10, 1, Offer(skip=1, apply_from=None, reack=10)),
        (1, 5, Offer(skip=5, apply_from=None, reack=10)),
        (11, 0, Offer(skip=0, apply_from=None, reack=10)),
    ],
)
def test_a_receiver_applies_just_what_it_does_not_have(from_seq: int, count: int, offer: Offer) -> None:
    assert Receiver(have=10).offer(from_seq, count) == offer


def test_what_comes_again_while_it_is_committed_is_acked_only_as_far_as_it_is_durable() -> None:
    made = receiver(R.COMMITTING)
    assert made.offer(11, 3) == Offer(skip=3, apply_from=None, reack=10)
    assert made.committed(12) == 12
    assert made.offer(11, 3) == Offer(skip=3, apply_from=None, reack=12)


def test_after_a_gap_what_is_on_its_way_to_the_disk_is_still_counted_and_nothing_new_is_taken() -> None:
    made = receiver(R.COMMITTING)
    gap(made)
    assert made.committed(13) == 13
    with pytest.raises(ProtocolViolation):
        made.offer(14, 1)
    assert made.have == 13

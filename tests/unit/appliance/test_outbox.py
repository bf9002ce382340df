"""The unacked end of the event log in memory."""

import pytest

from appliance import outbox as module
from appliance.outbox import Outbox


def test_what_was_added_can_be_sent_until_it_is_acked() -> None:
    outbox = Outbox(head=10, acked=8)
    told: list[bool] = []
    outbox.on_added = told.append
    assert outbox.held(9, 10) is None
    outbox.add(11, ["a", "b"], is_final=False)
    outbox.add(13, ["c"], is_final=True)
    assert told == [False, True]
    assert (outbox.head, outbox.unsynced) == (13, 5)
    assert outbox.held(11, 13) == ["a", "b", "c"]
    assert outbox.held(12, 12) == ["b"]
    assert outbox.held(10, 12) is None
    outbox.ack(12)
    assert outbox.held(13, 13) == ["c"]
    assert outbox.held(12, 13) is None
    assert outbox.unsynced == 1


def test_memory_has_a_limit_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_BYTES", 10)
    outbox = Outbox(head=0, acked=0)
    for seq in range(1, 5):
        outbox.add(seq, ["xxxx"], is_final=False)
    assert outbox.held(2, 4) is None
    assert outbox.held(3, 4) == ["xxxx", "xxxx"]
    monkeypatch.setattr(module, "LIMIT_ENTRIES", 1)
    outbox.add(5, ["y"], is_final=False)
    assert outbox.held(4, 5) is None
    assert outbox.held(5, 5) == ["y"]


def test_a_hub_that_was_restored_may_have_less_than_was_acked() -> None:
    outbox = Outbox(head=0, acked=0)
    outbox.add(1, ["a", "b", "c"], is_final=True)
    outbox.ack(3)
    outbox.ack(1)
    assert outbox.unsynced == 2
    assert outbox.held(2, 3) is None


def test_a_new_incarnation_counts_from_one() -> None:
    outbox = Outbox(head=10, acked=9)
    outbox.add(11, ["a"], is_final=True)
    outbox.rebase(8)
    assert (outbox.head, outbox.acked, outbox.unsynced) == (3, 0, 3)
    assert outbox.held(3, 3) is None
    outbox.add(4, ["b"], is_final=True)
    assert outbox.held(4, 4) == ["b"]

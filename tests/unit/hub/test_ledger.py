"""The ledger's jobs: tasks handed in, numbered, confirmed, cancelled, ended by the hub."""

import json

import pytest

from cloudsync.log import WINDOW_ENTRIES
from cloudsync.task import FINAL, TaskState
from hub import ledger
from hub.errors import Refusal
from tests.unit.hub.book import NOW, Book, moved
from tests.unit.hub.peer import outcome, some_id


def test_task_is_numbered_only_for_the_session_that_the_hub_holds(book: Book) -> None:
    assert book.submit().seq == 1
    assert book.submit(number=False).seq is None
    book.c.execute("UPDATE boxes SET fence = 2 WHERE id = 'b2'")
    assert book.submit("b2").seq is None


def test_newer_task_never_passes_one_that_waits(book: Book) -> None:
    waiting = book.submit(number=False).row["id"]
    later = book.submit()
    assert later.seq is None
    rows, _ = ledger.number_waiting(book.c, "b1", 1, 10, NOW, some_id)
    assert [(seq, row["id"]) for seq, row in rows] == [(1, waiting), (2, later.row["id"])]
    assert book.submit().seq == 3


def test_no_more_than_a_window_is_numbered_before_an_ack(book: Book) -> None:
    seqs = [book.submit().seq for _ in range(WINDOW_ENTRIES + 3)]
    assert seqs == [*range(1, WINDOW_ENTRIES + 1), None, None, None]
    ledger.acked(book.c, "b1", 1, 10, NOW)
    rows, _ = ledger.number_waiting(book.c, "b1", 1, 2, NOW, some_id)
    assert [seq for seq, _ in rows] == [257, 258]


def test_ack_confirms_delivery_once(book: Book) -> None:
    task_id = book.submit().row["id"]
    change = ledger.acked(book.c, "b1", 1, 1, NOW)
    assert [(row["id"], row["delivery"], row["delivered_at"]) for row in change.rows] == [(task_id, "confirmed", NOW)]
    assert ledger.acked(book.c, "b1", 1, 1, NOW + 9).rows == []


def test_overdue_task_expires_when_nobody_took_it(book: Book) -> None:
    early = book.submit(number=False, deliver_by=NOW + 10).row["id"]
    late = book.submit(number=False, deliver_by=NOW + 99).row["id"]
    sent = book.submit("b2", deliver_by=NOW + 10).row["id"]
    change = ledger.expire(book.c, NOW + 10, some_id)
    assert [row["id"] for row in change.rows] == [early]
    assert json.loads(book.task(early)["outcome"])["error"]["hint"]
    assert (book.task(late)["state"], book.task(sent)["state"]) == ("queued", "queued")
    assert [entry["state"] for entry in change.entries] == ["expired"]


def test_overdue_task_is_not_numbered_but_expired(book: Book) -> None:
    overdue = book.submit(number=False, deliver_by=NOW - 1).row["id"]
    good = book.submit(number=False).row["id"]
    rows, change = ledger.number_waiting(book.c, "b1", 1, 10, NOW, some_id)
    assert [row["id"] for _, row in rows] == [good]
    assert [row["id"] for row in change.rows] == [overdue]


def test_cancel_ends_an_unsent_task_at_once_and_commands_a_sent_one_once(book: Book) -> None:
    sent = book.submit().row["id"]
    unsent = book.submit(number=False).row["id"]
    row, seq, change = ledger.cancel(book.c, unsent, "acme", "me", NOW, some_id)
    assert (row["state"], seq, len(change.entries)) == ("cancelled", None, 1)
    row, seq, change = ledger.cancel(book.c, sent, "acme", "me", NOW, some_id)
    assert (row["state"], seq, change.rows) == ("queued", 2, [])
    assert ledger.cancel(book.c, sent, "acme", "me", NOW, some_id)[1] is None


@pytest.mark.parametrize("state", TaskState)
def test_cancel_never_changes_a_final_task(book: Book, state: TaskState) -> None:
    task_id = book.submit().row["id"]
    book.force(task_id, state)
    row, seq, _ = ledger.cancel(book.c, task_id, "acme", "me", NOW, some_id)
    assert row["state"] == state
    assert (seq is None) == (state in FINAL)


def test_cancel_of_another_customers_task_is_not_found(book: Book) -> None:
    task_id = book.submit().row["id"]
    with pytest.raises(Refusal) as caught:
        ledger.cancel(book.c, task_id, "other", "me", NOW, some_id)
    assert caught.value.status == 404
    assert caught.value.hint


def test_closing_an_incarnation_interrupts_what_was_sent_and_leaves_what_was_not(book: Book) -> None:
    sent, running, done = (book.submit().row["id"] for _ in range(3))
    book.frame(moved(running, "running"), moved(done, "succeeded", outcome(0)))
    unsent = book.submit(number=False).row["id"]
    change = ledger.close_incarnation(book.c, "b1", "inc-b1", NOW, some_id)
    assert {row["id"] for row in change.rows} == {sent, running}
    states = [book.task(task_id)["state"] for task_id in (sent, running, done, unsent)]
    assert states == ["interrupted", "interrupted", "succeeded", "queued"]
    assert book.c.execute("SELECT count(*) FROM commands").fetchone()[0] == 0


def test_restored_hubs_commands_move_above_what_the_box_holds_in_order(book: Book) -> None:
    ids = [book.submit().row["id"] for _ in range(3)]
    ledger.renumber_commands(book.c, "b1", 40)
    rows = ledger.commands_between(book.c, "b1", 1, 99)
    assert [(row["seq"], row["id"]) for row in rows] == [(41, ids[0]), (42, ids[1]), (43, ids[2])]


def test_key_gives_the_same_task_for_the_same_body_only(book: Book) -> None:
    first = book.submit(idempotency_key="k", digest="d")
    again = book.submit(idempotency_key="k", digest="d")
    assert again.existing
    assert again.row["id"] == first.row["id"]
    with pytest.raises(Refusal) as reused:
        book.submit(idempotency_key="k", digest="other")
    assert (reused.value.status, reused.value.extra) == (409, {"task_id": first.row["id"]})
    book.c.execute("DELETE FROM tasks WHERE id = ?", (first.row["id"],))
    with pytest.raises(Refusal) as pruned:
        book.submit(idempotency_key="k", digest="d")
    assert (pruned.value.status, pruned.value.extra) == (410, {"task_id": first.row["id"]})


def test_key_is_the_customers_own(book: Book) -> None:
    first = book.submit(idempotency_key="k", digest="d")
    other = book.submit("b3", customer_id="other", idempotency_key="k", digest="d")
    assert other.row["id"] != first.row["id"]


def test_box_that_is_revoked_or_anothers_takes_no_task(book: Book) -> None:
    book.c.execute("UPDATE boxes SET standing = 'revoked' WHERE id = 'b2'")
    for box, status in (("b2", 409), ("b3", 404), ("none", 404)):
        with pytest.raises(Refusal) as caught:
            book.submit(box)
        assert caught.value.status == status
        assert caught.value.hint

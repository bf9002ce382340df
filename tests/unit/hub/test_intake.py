"""A box's events on their way into the ledger: each once, and each move of a task."""

import json

import pytest

from cloudsync.messages import FlaggedEvent, LocalTask, LostEvent
from cloudsync.task import FINAL, RANK, Origin, Party, TaskState, moves
from hub import intake, ledger
from hub.intake import Frame
from hub.ledger import FenceLost
from tests.unit.hub.book import NOW, Book, moved
from tests.unit.hub.peer import outcome, some_id

OPEN = (TaskState.QUEUED, TaskState.ACCEPTED, TaskState.RUNNING)


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("news", TaskState)
def test_event_moves_a_task_forward_and_never_back(book: Book, state: TaskState, news: TaskState) -> None:
    task_id = book.submit().row["id"]
    book.force(task_id, state)
    book.frame(moved(task_id, news))
    forward = state in OPEN and RANK[news] >= RANK[state]
    assert book.task(task_id)["state"] == (news if forward else state)
    # Whatever the table of transitions allows the box is among what moves it.
    assert news not in moves(state, sent=True, by=Party.BOX) or forward
    assert len(book.events()) == 1


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("news", TaskState)
def test_boxs_own_final_event_replaces_one_that_the_hub_set(book: Book, state: TaskState, news: TaskState) -> None:
    task_id = book.submit().row["id"]
    book.force(task_id, state, by_hub=True)
    book.frame(moved(task_id, news, outcome(7)))
    task = book.task(task_id)
    assert task["state"] == (news if news in FINAL else state)
    assert task["final_by_hub"] == (news not in FINAL)


def test_what_the_hub_said_goes_with_its_final_state(book: Book) -> None:
    task_id = book.submit().row["id"]
    ledger.close_incarnation(book.c, "b1", "inc-b1", NOW, some_id)
    assert "incarnation_ended" in book.task(task_id)["outcome"]
    book.frame(moved(task_id, "cancelled"))
    assert book.task(task_id)["state"] == "cancelled"
    assert book.task(task_id)["outcome"] is None


def test_times_and_outcome_of_a_task_are_corrected_by_the_boxs_clock(book: Book) -> None:
    task_id = book.submit().row["id"]
    came = outcome(3, b"out").model_copy(update={"accepted_at_ms": 10, "started_at_ms": 20, "ended_at_ms": 30})
    change = book.frame(moved(task_id, "running", at_ms=25), moved(task_id, "failed", came, at_ms=35), offset=1000)
    row = change.rows[0]
    assert (row["accepted_at"], row["started_at"], row["ended_at"]) == (1010, 1020, 1030)
    assert (row["exit_code"], row["synced_at"], row["delivery"]) == (3, NOW + 500, "confirmed")
    assert [entry["at"] for entry in change.entries] == [1025, 1035]


def test_time_beyond_any_calendar_is_the_last_one_and_stops_nothing(book: Book) -> None:
    task_id = book.submit().row["id"]
    book.frame(moved(task_id, "running", at_ms=2**63 - 1), offset=10**12)
    book.frame(moved(task_id, "succeeded", at_ms=0), offset=-(10**12))
    assert book.task(task_id)["started_at"] == intake.LATEST_MS
    assert [row["at"] for row in book.events()] == [intake.LATEST_MS, 0]


def test_duplicate_of_an_event_is_ledgered_once_and_moves_nothing(book: Book) -> None:
    task_id = book.submit().row["id"]
    event = moved(task_id, "running")
    book.frame(event)
    book.force(task_id, TaskState.SUCCEEDED)
    change = book.frame(event)
    assert (change.rows, change.entries) == ([], [])
    assert len(book.events()) == 1
    assert book.box("b1")["event_seq"] == 2


@pytest.mark.parametrize("box", ["b2", "b3"])
def test_event_about_another_boxs_task_is_ledgered_and_does_not_touch_it(book: Book, box: str) -> None:
    task_id = book.submit("b1").row["id"]
    before = dict(book.task(task_id))
    change = book.frame(moved(task_id, "succeeded", outcome(0, b"forged")), box=box)
    assert dict(book.task(task_id)) == before
    assert change.rows == []
    (entry,) = book.events()
    assert (entry["box_id"], entry["customer_id"]) == (box, book.box(box)["customer_id"])


def test_task_made_on_the_box_is_entered_with_its_first_event(book: Book) -> None:
    made = LocalTask(spec={"kind": "bash.exec", "command": "x"}, origin=Origin.LOCAL, created_by="ann", created_at_ms=5)
    book.frame(moved("local-1", "running", made_here=made), moved("local-1", "succeeded", outcome(0)))
    row = book.task("local-1")
    assert (row["origin"], row["created_by"], row["state"], row["customer_id"]) == ("local", "ann", "succeeded", "acme")
    assert json.loads(row["spec"])["command"] == "x"


def test_unreadable_entry_is_kept_as_it_came_and_acked(book: Book) -> None:
    task_id = book.submit().row["id"]
    newer = '{"type":"telemetry","id":"e-77","x":[1]}'
    book.frame(newer, "[1]", moved(task_id, "running"))
    kinds = [(row["type"], row["id"], row["body"]) for row in book.events()]
    assert kinds[0] == ("unknown", "e-77", newer)
    assert kinds[1] == ("unknown", "b1.inc-b1.2", "[1]")
    assert book.box("b1")["event_seq"] == 3
    assert book.task(task_id)["state"] == "running"


def test_last_event_is_named_as_the_box_names_it_even_when_it_is_not_understood(book: Book) -> None:
    book.frame('{"type":"telemetry","id":"e-77"}')
    assert book.box("b1")["event_id"] == "e-77"
    book.frame("[1]")
    assert book.box("b1")["event_id"] is None


def test_entry_that_cannot_be_stored_is_kept_raw_and_the_others_count(book: Book) -> None:
    first, second = book.submit().row["id"], book.submit().row["id"]
    book.frame(moved(first, "succeeded", outcome(2**70)), moved(second, "succeeded", outcome(0)), ack=2)
    assert book.task(second)["state"] == "succeeded"
    assert book.task(first)["state"] == "queued"
    assert [row["type"] for row in book.events()] == ["unknown", "task"]
    assert str(2**70) in book.events()[0]["body"]
    assert book.box("b1")["event_seq"] == 2


def test_lost_entry_covers_its_range(book: Book) -> None:
    book.frame(LostEvent(id="lost-1", at_ms=NOW, from_seq=1, to_seq=50, why="disk full"))
    assert book.box("b1")["event_seq"] == 50
    assert json.loads(book.events()[0]["body"])["why"] == "disk full"
    book.frame(FlaggedEvent(id="f", at_ms=NOW, command_seq=1, message="what?"))
    assert [(row["type"], row["seq"]) for row in book.events()] == [("lost", 1), ("flagged", 51)]


@pytest.mark.parametrize("change", ["fence = 2", "standing = 'quarantined'", "standing = 'revoked'", "event_seq = 5"])
def test_session_that_is_not_the_newest_writes_nothing(book: Book, change: str) -> None:
    task_id = book.submit().row["id"]
    frame = Frame("b1", "acme", "inc-b1", 1, 1, 1, [moved(task_id, "running")], 1, 0)
    book.c.execute(f"UPDATE boxes SET {change} WHERE id = 'b1'")  # noqa: S608 - from this file
    with pytest.raises(FenceLost):
        intake.apply(book.c, frame, NOW)
    if change != "event_seq = 5":
        with pytest.raises(FenceLost):
            ledger.acked(book.c, "b1", 1, 1, NOW)
        with pytest.raises(FenceLost):
            ledger.number_waiting(book.c, "b1", 1, 5, NOW, some_id)
    assert book.events() == []
    assert book.task(task_id)["delivery"] == "sent"

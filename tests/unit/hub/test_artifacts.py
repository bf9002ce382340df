"""Artifacts in the database: what outcomes name, and what becomes of it."""

from typing import Any

from cloudsync.messages import ArtifactEvent
from cloudsync.spec import Artifact, Outcome
from hub import artifacts
from hub.artifacts import Content
from hub.intake import Entry
from tests.unit.hub.book import NOW, Book, moved
from tests.unit.hub.peer import some_id

ONE, TWO = "1" * 64, "2" * 64


def named(artifact_id: str, sha256: str = ONE, size: int = 10) -> Artifact:
    """An artifact."""
    return Artifact(id=artifact_id, name=f"{artifact_id}.png", media_type="image/png", size_bytes=size, sha256=sha256)


def ended(task_id: str, *left: Artifact) -> Entry:
    """The end of a task that left these."""
    return moved(task_id, "succeeded", Outcome(exit_code=0, artifacts=left))


def lost(artifact_id: str, task_id: str, why: str = "no room") -> ArtifactEvent:
    """The box gave it up."""
    return ArtifactEvent(id=some_id(), at_ms=NOW, artifact_id=artifact_id, task_id=task_id, why=why)


def rows(book: Book, task_id: str) -> list[tuple[Any, ...]]:
    """What the database says of a task's artifacts."""
    found = book.c.execute(artifacts.OF_TASK, (task_id, 0, -1)).fetchall()
    return [(row["id"], row["state"], row["why"]) for row in found]


def test_an_outcome_enters_what_it_names_once_and_in_its_order(book: Book) -> None:
    task_id = book.submit().row["id"]
    entry = ended(task_id, named("b"), named("a", TWO))
    book.frame(entry)
    book.frame(entry)  # as a re-based log brings it again
    assert rows(book, task_id) == [("b", "pending", ""), ("a", "pending", "")]


def test_content_that_came_is_there_for_all_of_its_customer_that_name_it(book: Book) -> None:
    first, second, third = (book.submit(box).row["id"] for box in ("b1", "b2", "b1"))
    other = book.submit("b3", customer_id="other", id="theirs").row["id"]
    for box, task_id in (("b1", first), ("b2", second)):
        book.frame(ended(task_id, named(f"of-{box}")), box=box)
    book.frame(ended(other, named("of-other")), box="b3")
    content = Content("acme", ONE, 10)
    assert artifacts.store(book.c, content, NOW)
    assert not artifacts.store(book.c, content, NOW)
    book.frame(ended(third, named("later"), named("other-size", ONE, 11)))
    assert rows(book, first) == [("of-b1", "stored", "")]
    assert rows(book, second) == [("of-b2", "stored", "")]
    assert rows(book, third) == [("later", "stored", ""), ("other-size", "pending", "")]
    assert rows(book, other) == [("of-other", "pending", "")]


def test_what_a_box_gives_up_is_lost_also_in_the_frame_that_names_it(book: Book) -> None:
    task_id = book.submit().row["id"]
    book.frame(ended(task_id, named("a"), named("b", TWO)), lost("a", task_id))
    assert rows(book, task_id) == [("a", "lost", "no room"), ("b", "pending", "")]
    event = book.events()[-1]
    assert (event["type"], event["task_id"]) == ("artifact", task_id)


def test_what_is_stored_is_not_lost_any_more_and_another_box_can_lose_nothing(book: Book) -> None:
    task_id = book.submit().row["id"]
    book.frame(ended(task_id, named("a"), named("b", TWO)))
    book.frame(lost("b", task_id, "from elsewhere"), box="b2")
    artifacts.store(book.c, Content("acme", ONE, 10), NOW)
    book.frame(lost("a", task_id))
    assert rows(book, task_id) == [("a", "stored", ""), ("b", "pending", "")]


def test_a_box_names_nothing_for_the_task_of_another(book: Book) -> None:
    task_id = book.submit("b1").row["id"]
    book.frame(ended(task_id, named("a")), box="b2")
    assert rows(book, task_id) == []


def test_an_id_that_is_taken_stays_with_whose_it_is(book: Book) -> None:
    first, second = book.submit("b1").row["id"], book.submit("b2").row["id"]
    book.frame(ended(first, named("a")))
    book.frame(ended(second, named("a", TWO)), box="b2")
    assert rows(book, first) == [("a", "pending", "")]
    assert rows(book, second) == []
    assert book.task(second)["state"] == "succeeded"


def test_artifacts_go_with_their_task_and_contents_when_nobody_names_them(book: Book) -> None:
    first, second = book.submit().row["id"], book.submit().row["id"]
    book.frame(ended(first, named("a")), ended(second, named("b")))
    content = Content("acme", ONE, 10)
    artifacts.store(book.c, content, NOW)
    book.c.execute("DELETE FROM tasks WHERE id = ?", (first,))
    assert rows(book, first) == []
    assert artifacts.unused(book.c, 10) == []
    assert not artifacts.drop(book.c, content)
    book.c.execute("DELETE FROM tasks WHERE id = ?", (second,))
    assert artifacts.unused(book.c, 10) == [content]
    assert artifacts.drop(book.c, content)
    assert artifacts.unused(book.c, 10) == []

"""A small database for the jobs of the ledger: customers, boxes in session, tasks and events."""

import itertools
from typing import Any

from cloudsync.messages import LostEvent, TaskEvent
from cloudsync.spec import Outcome
from cloudsync.task import TaskState
from hub import intake, ledger
from hub.intake import Entry, Frame
from hub.ledger import Change, NewTask, Submitted
from hub.store import Connection, Row
from tests.unit.hub.peer import some_id

NOW = 1_700_000_000_000


class Book:
    """A database with customer acme, its boxes b1 and b2 in session 1, and customer other's box b3."""

    def __init__(self, connection: Connection) -> None:
        self.c = connection
        self._numbers = itertools.count(1)
        for customer, boxes in {"acme": ("b1", "b2"), "other": ("b3",)}.items():
            connection.execute("INSERT INTO customers VALUES (?, ?, 'unlimited', 0, NULL)", (customer, customer))
            for box in boxes:
                connection.execute(
                    """INSERT INTO boxes (id, customer_id, name, public_key, incarnation, fence, settled, enrolled_at)
                    VALUES (?, ?, ?, ?, ?, 1, 1, 0)""",
                    (box, customer, box, box, f"inc-{box}"),
                )

    def submit(self, box: str = "b1", *, number: bool = True, **more: Any) -> Submitted:
        """Commit a task."""
        fields: dict[str, Any] = {"id": f"t{next(self._numbers)}", "customer_id": "acme", "box_id": box} | more
        common: dict[str, Any] = {"kind": "bash.exec", "spec": "{}", "created_by": "me", "created_at": NOW}
        task = NewTask(**common | {"deliver_by": NOW + 1000} | fields)
        return ledger.submit(self.c, task, 1, may_number=number)

    def frame(self, *entries: Entry, box: str = "b1", ack: int | None = None, offset: int = 0) -> Change:
        """Apply the box's next events."""
        row = self.box(box)
        count = len(entries)
        if count == 1 and isinstance(entries[0], LostEvent):
            count = entries[0].to_seq - entries[0].from_seq + 1
        frame = Frame(
            box_id=box,
            customer_id=row["customer_id"],
            incarnation=row["incarnation"],
            fence=1,
            from_seq=row["event_seq"] + 1,
            last_seq=row["event_seq"] + count,
            entries=entries,
            ack=ack,
            clock_offset_ms=offset,
        )
        return intake.apply(self.c, frame, NOW + 500)

    def task(self, task_id: str) -> Row:
        """A task's row."""
        return self.c.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()

    def box(self, box_id: str) -> Row:
        """A box's row."""
        return self.c.execute("SELECT * FROM boxes WHERE id = ?", (box_id,)).fetchone()

    def events(self) -> list[Row]:
        """The ledger."""
        return list(self.c.execute("SELECT * FROM events ORDER BY n"))

    def force(self, task_id: str, state: TaskState, *, by_hub: bool = False) -> None:
        """Put a task into a state."""
        self.c.execute("UPDATE tasks SET state = ?, final_by_hub = ? WHERE id = ?", (str(state), by_hub, task_id))


def moved(task_id: str, state: TaskState | str, came: Outcome | None = None, **more: Any) -> TaskEvent:
    """An event of a task."""
    fields: dict[str, Any] = {"id": some_id(), "at_ms": NOW, "attempt": 1} | more
    return TaskEvent(task_id=task_id, state=TaskState(state), outcome=came, **fields)

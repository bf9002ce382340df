"""Tasks, commands and events in the hub's database. Every function here is a job of the store, or part of one."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cloudsync.log import WINDOW_ENTRIES
from cloudsync.spec import ErrorBody, Outcome
from cloudsync.task import FINAL, Delivery, Origin, TaskState
from hub.errors import Refusal, not_found
from hub.store import Connection, Row

_STANDING = "SELECT standing, fence, customer_id, incarnation FROM boxes WHERE id = ?"
# With it: the next command's seq, and whether older tasks wait, before which a new one is not numbered.
_PLACE = """
SELECT b.standing, b.fence, b.customer_id, b.incarnation, b.command_seq,
    max(b.command_seq, coalesce((SELECT max(seq) FROM commands WHERE box_id = b.id), 0)) + 1 AS next_seq,
    EXISTS (SELECT 1 FROM tasks t WHERE t.box_id = b.id AND t.delivery = 'unsent' AND t.state = 'queued') AS waiting
FROM boxes b WHERE b.id = ?"""
_NEXT_SEQ = """
SELECT max(b.command_seq, coalesce((SELECT max(seq) FROM commands WHERE box_id = b.id), 0)) + 1
FROM boxes b WHERE b.id = ?"""
_ADD_COMMAND = "INSERT INTO commands (box_id, seq, type, task_id, made_by) VALUES (?, ?, ?, ?, ?)"
ADD_TASK = """
INSERT INTO tasks (id, customer_id, box_id, kind, spec, origin, created_by, state, delivery, incarnation, created_at,
                   deliver_by)
VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?) RETURNING *"""
TASK = "SELECT * FROM tasks WHERE id = ?"
ADD_EVENT = """
INSERT INTO events (customer_id, box_id, incarnation, seq, id, type, task_id, state, at, stored_at, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING n"""
_FORGET_COMMANDS = "DELETE FROM commands WHERE box_id = ? AND seq <= ? RETURNING type, task_id"
_CONFIRM = """
UPDATE tasks SET delivery = 'confirmed', delivered_at = coalesce(delivered_at, ?)
WHERE id = ? AND delivery = 'sent' RETURNING *"""
_ACKED = """
UPDATE boxes SET command_seq = max(command_seq, ?), last_seen_at = ?
WHERE id = ? AND fence = ? AND standing = 'active'"""
_WAITING = """
SELECT * FROM tasks WHERE box_id = ? AND delivery = 'unsent' AND state = 'queued' ORDER BY n LIMIT ?"""
_NUMBER = "UPDATE tasks SET delivery = 'sent', incarnation = ? WHERE id = ? RETURNING *"
# queued, unsent -> cancelled, expired; sent, accepted, running -> interrupted when an incarnation is closed
_END_BY_HUB = """
UPDATE tasks SET state = ?, ended_at = ?, synced_at = ?, outcome = ?, final_by_hub = 1 WHERE id = ? RETURNING *"""
_OVERDUE = """
SELECT * FROM tasks WHERE delivery = 'unsent' AND state = 'queued' AND deliver_by <= ? ORDER BY deliver_by LIMIT 500"""
_OPEN_OF_INCARNATION = """
SELECT * FROM tasks WHERE box_id = ? AND state IN ('queued', 'accepted', 'running') AND delivery != 'unsent'"""
_COMMANDS = """
SELECT c.seq, c.type, c.made_by, t.id, t.spec, t.created_by, t.created_at, t.deliver_by
FROM commands c JOIN tasks t ON t.id = c.task_id WHERE c.box_id = ? AND c.seq BETWEEN ? AND ? ORDER BY c.seq"""


class FenceLost(Exception):
    """The session that wrote is not the box's newest any more, or the box is not active: nothing was written."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task as it is asked for. `spec` is its encoded spec, `digest` that of the request body."""

    id: str
    customer_id: str | None
    box_id: str
    kind: str
    spec: str
    created_by: str
    created_at: int
    deliver_by: int
    idempotency_key: str | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A committed task; `seq` where it was numbered at once; `existing` where its key had made it before."""

    row: Row
    seq: int | None
    existing: bool = False


@dataclass(slots=True)
class Change:
    """What a job changed: the rows of tasks as they are now, and the ledger entries that say so."""

    rows: list[Row] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)


def submit(connection: Connection, task: NewTask, fence: int | None, *, may_number: bool) -> Submitted:
    """Commit a task and, where this hub holds the box's session and its window has room, its command seq."""
    box = connection.execute(_PLACE, (task.box_id,)).fetchone()
    if box is None or (task.customer_id is not None and box["customer_id"] != task.customer_id):
        raise not_found("box", task.box_id, "list them with 'operis boxes' or GET /api/v1/boxes")
    customer_id = box["customer_id"]
    if task.idempotency_key is not None and (earlier := _by_key(connection, customer_id, task)) is not None:
        return Submitted(earlier, None, existing=True)
    if box["standing"] == "revoked":
        raise Refusal(409, "box_revoked", f"box '{task.box_id}' is revoked", hint="enrol it again under a new token")
    seq = None
    may_number = may_number and box["fence"] == fence and box["standing"] == "active" and not box["waiting"]
    if may_number and box["next_seq"] - box["command_seq"] <= WINDOW_ENTRIES:
        seq = box["next_seq"]
        connection.execute(_ADD_COMMAND, (task.box_id, seq, "run", task.id, task.created_by))
    row = connection.execute(
        ADD_TASK,
        (
            task.id,
            customer_id,
            task.box_id,
            task.kind,
            task.spec,
            str(Origin.HUB),
            task.created_by,
            str(Delivery.UNSENT if seq is None else Delivery.SENT),
            None if seq is None else box["incarnation"],
            task.created_at,
            task.deliver_by,
        ),
    ).fetchone()
    if task.idempotency_key is not None:
        connection.execute(
            "INSERT INTO idempotency (customer_id, key, digest, task_id, created_at) VALUES (?, ?, ?, ?, ?)",
            (customer_id, task.idempotency_key, task.digest, task.id, task.created_at),
        )
    return Submitted(row, seq)


def _by_key(connection: Connection, customer_id: str, task: NewTask) -> Row | None:
    known = connection.execute(
        "SELECT digest, task_id FROM idempotency WHERE customer_id = ? AND key = ?",
        (customer_id, task.idempotency_key),
    ).fetchone()
    if known is None:
        return None
    if known["digest"] != task.digest:
        raise Refusal(
            409,
            "idempotency_key_reused",
            f"Idempotency-Key was used for task {known['task_id']} with another body",
            hint="use a new key for a new task; send the same body to get the same task",
            extra={"task_id": known["task_id"]},
        )
    row = connection.execute(TASK, (known["task_id"],)).fetchone()
    if row is None:
        raise Refusal(
            410,
            "task_pruned",
            f"task {known['task_id']} of this Idempotency-Key is no longer kept",
            hint="it was made and is over; use a new key for a new task",
            extra={"task_id": known["task_id"]},
        )
    return row


def number_waiting(
    connection: Connection, box_id: str, fence: int, limit: int, now: int, new_id: Callable[[], str]
) -> tuple[list[tuple[int, Row]], Change]:
    """Give waiting tasks of a box in session their command seqs, oldest first; overdue ones expire instead."""
    box = connection.execute(_STANDING, (box_id,)).fetchone()
    if box is None or box["fence"] != fence or box["standing"] != "active":
        raise FenceLost(box_id)
    change = Change()
    numbered = []
    for row in connection.execute(_WAITING, (box_id, limit)).fetchall():
        if row["deliver_by"] is not None and row["deliver_by"] <= now:
            _expire(connection, row, now, new_id, change)
            continue
        seq = connection.execute(_NEXT_SEQ, (box_id,)).fetchone()[0]
        connection.execute(_ADD_COMMAND, (box_id, seq, "run", row["id"], row["created_by"]))
        numbered.append((seq, connection.execute(_NUMBER, (box["incarnation"], row["id"])).fetchone()))
    return numbered, change


def commands_between(connection: Connection, box_id: str, first: int, last: int) -> list[Row]:
    """Commands of the log with what their entries need, in order."""
    return list(connection.execute(_COMMANDS, (box_id, first, last)))


def acked(connection: Connection, box_id: str, fence: int, seq: int, now: int) -> Change:
    """The box has committed all commands up to `seq`."""
    if connection.execute(_ACKED, (seq, now, box_id, fence)).rowcount == 0:
        raise FenceLost(box_id)
    change = Change()
    confirm(connection, box_id, seq, now, frozenset(), change)
    return change


def confirm(
    connection: Connection, box_id: str, seq: int, now: int, already: frozenset[str] | set[str], change: Change
) -> None:
    """Note that the box has the commands up to `seq`, but for the tasks `already` moved on."""
    for command in connection.execute(_FORGET_COMMANDS, (box_id, seq)).fetchall():
        if command["type"] == "run" and command["task_id"] not in already:
            change.rows.extend(connection.execute(_CONFIRM, (now, command["task_id"])).fetchall())


def cancel(
    connection: Connection, task_id: str, customer_id: str | None, by: str, now: int, new_id: Callable[[], str]
) -> tuple[Row, int | None, Change]:
    """Cancel a task: at once where it never left the hub, by a command where it did; a finished one stays as it is."""
    row = connection.execute(TASK, (task_id,)).fetchone()
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("task", task_id, "list them with 'operis tasks' or GET /api/v1/tasks")
    change = Change()
    if row["state"] in FINAL:
        return row, None, change
    if row["delivery"] == Delivery.UNSENT:
        error = ErrorBody(code="cancelled", message=f"cancelled by {by} before it was sent to the box")
        row = _end(connection, row, TaskState.CANCELLED, error, now, new_id(), change)
        return row, None, change
    pending = connection.execute(
        "SELECT seq FROM commands WHERE box_id = ? AND type = 'cancel' AND task_id = ?", (row["box_id"], task_id)
    ).fetchone()
    if pending is not None:
        return row, None, change
    seq = connection.execute(_NEXT_SEQ, (row["box_id"],)).fetchone()[0]
    connection.execute(_ADD_COMMAND, (row["box_id"], seq, "cancel", task_id, by))
    return row, seq, change


def expire(connection: Connection, now: int, new_id: Callable[[], str]) -> Change:
    """End what was not sent in its time."""
    change = Change()
    for row in connection.execute(_OVERDUE, (now,)).fetchall():
        _expire(connection, row, now, new_id, change)
    return change


def _expire(connection: Connection, row: Row, now: int, new_id: Callable[[], str], change: Change) -> None:
    waited_s = (now - row["created_at"]) / 1000
    error = ErrorBody(
        code="expired",
        message=f"box '{row['box_id']}' was not connected within {waited_s:.0f} s; the task was never sent",
        hint="give it a longer deliver_within_s, or look why the box is away",
    )
    _end(connection, row, TaskState.EXPIRED, error, now, new_id(), change)


def close_incarnation(
    connection: Connection, box_id: str, incarnation: str | None, now: int, new_id: Callable[[], str]
) -> Change:
    """Close a box's incarnation: its sent, unfinished tasks are interrupted, its command log ends."""
    change = Change()
    if incarnation is not None:
        connection.execute(
            "INSERT OR IGNORE INTO closed_incarnations (box_id, incarnation, closed_at) VALUES (?, ?, ?)",
            (box_id, incarnation, now),
        )
    error = ErrorBody(
        code="incarnation_ended",
        message="the box began anew without its journal; whether and how far the task ran is not known",
        hint="look on the box before you run it again",
    )
    for row in connection.execute(_OPEN_OF_INCARNATION, (box_id,)).fetchall():
        _end(connection, row, TaskState.INTERRUPTED, error, now, new_id(), change)
    connection.execute("DELETE FROM commands WHERE box_id = ?", (box_id,))
    return change


def _end(
    connection: Connection, row: Row, state: TaskState, error: ErrorBody, now: int, event_id: str, change: Change
) -> Row:
    outcome = Outcome(error=error).model_dump_json(exclude_none=True, exclude_defaults=True)
    ended = connection.execute(_END_BY_HUB, (str(state), now, now, outcome, row["id"])).fetchone()
    values = (row["customer_id"], row["box_id"], "", 0, event_id, "task", row["id"], str(state), now, now, None)
    added = connection.execute(ADD_EVENT, values).fetchone()
    change.rows.append(ended)
    change.entries.append(ledger_entry(added["n"], *values))
    return ended


def ledger_entry(
    n: int,
    customer_id: str,
    box_id: str,
    incarnation: str,
    seq: int,
    event_id: str,
    kind: str,
    task_id: str | None,
    state: str | None,
    at: int,
    stored_at: int,
    body: str | None,
) -> dict[str, Any]:
    """A row of the ledger as a dictionary."""
    return {
        "n": n,
        "customer_id": customer_id,
        "box_id": box_id,
        "incarnation": incarnation,
        "seq": seq,
        "id": event_id,
        "type": kind,
        "task_id": task_id,
        "state": state,
        "at": at,
        "stored_at": stored_at,
        "body": body,
    }


def note(
    connection: Connection, customer_id: str, box_id: str, kind: str, event_id: str, now: int, body: dict[str, Any]
) -> dict[str, Any]:
    """Enter something that the hub itself noticed about a box, such as a quarantine."""
    text = json.dumps(body, separators=(",", ":"))
    values = (customer_id, box_id, "", 0, event_id, kind, None, None, now, now, text)
    added = connection.execute(ADD_EVENT, values).fetchone()
    return ledger_entry(added["n"], *values)


def renumber_commands(connection: Connection, box_id: str, floor: int) -> None:
    """Move a restored hub's commands above what the box already holds; the box ignores those it knows."""
    rows: Iterable[Row] = connection.execute(
        "SELECT * FROM commands WHERE box_id = ? ORDER BY seq", (box_id,)
    ).fetchall()
    connection.execute("DELETE FROM commands WHERE box_id = ?", (box_id,))
    for seq, row in enumerate(rows, floor + 1):
        connection.execute(_ADD_COMMAND, (box_id, seq, row["type"], row["task_id"], row["made_by"]))

"""A box's events on their way into the ledger: each is stored once, and moves the task it is about.

An entry that is not understood, or cannot be stored, is kept as it came and does nothing: a log never stands still
for what it holds. `apply` is a job of the store.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pydantic_core
import pysqlite3.dbapi2 as sqlite3

from cloudsync.messages import ArtifactEvent, FlaggedEvent, LostEvent, TaskEvent
from cloudsync.task import FINAL, RANK, Delivery, Origin, TaskState
from hub import artifacts
from hub.ledger import ADD_EVENT, ADD_TASK, TASK, Change, FenceLost, confirm, ledger_entry
from hub.store import Connection

# The last time that RFC 3339 can write, the end of the year 9999: a box's clock may say anything.
LATEST_MS: Final = 253_402_300_799_999

# queued, accepted, running -> any later (`cloudsync.task.RANK`), never back; a final state that the hub set -> the
# box's own final state
_MOVE_TASK = """
UPDATE tasks SET state = ?, delivery = 'confirmed', delivered_at = coalesce(delivered_at, ?),
    attempt = max(attempt, ?), accepted_at = coalesce(?, accepted_at), started_at = coalesce(?, started_at),
    ended_at = coalesce(?, ended_at), synced_at = ?, exit_code = ?,
    outcome = coalesce(?, iif(final_by_hub, NULL, outcome)), final_by_hub = 0
WHERE id = ? AND box_id = ? AND ((final_by_hub AND ?)
    OR CASE state WHEN 'queued' THEN 0 WHEN 'accepted' THEN 1 WHEN 'running' THEN 2 ELSE 9 END <= ?)
RETURNING *"""
_ADVANCE = """
UPDATE boxes SET event_seq = ?, event_id = ?, command_seq = max(command_seq, ?), last_seen_at = ?
WHERE id = ? AND fence = ? AND standing = 'active' AND event_seq = ?"""


# What was read of an event; one that is not understood is kept as its JSON text.
Entry = TaskEvent | LostEvent | FlaggedEvent | ArtifactEvent | str


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch of events of one session, read and ready to store."""

    box_id: str
    customer_id: str
    incarnation: str
    fence: int
    from_seq: int
    last_seq: int
    entries: Sequence[Entry]
    ack: int | None
    clock_offset_ms: int


@dataclass(slots=True)
class _Moved:
    """What a frame says of one task, folded: its last state and the times and outcome on the way."""

    event: TaskEvent
    first_at: int
    accepted_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    made_here: TaskEvent | None = None


def apply(connection: Connection, frame: Frame, now: int) -> Change:
    """Put a batch of events into the ledger, each once, and move the tasks they are about. `FenceLost` if stale."""
    last = frame.entries[-1]
    last_id = _raw_id(last) if isinstance(last, str) else last.id
    advanced = connection.execute(
        _ADVANCE,
        (frame.last_seq, last_id, frame.ack or 0, now, frame.box_id, frame.fence, frame.from_seq - 1),
    )
    if advanced.rowcount == 0:
        raise FenceLost(frame.box_id)
    connection.execute("SAVEPOINT frame")
    try:
        change = Change()
        moved = _store_entries(connection, frame, frame.from_seq, frame.entries, now, change)
    except sqlite3.OperationalError:
        raise
    except Exception:  # noqa: BLE001 - whatever an entry says, it must not keep the log from going on
        connection.execute("ROLLBACK TO frame")
        change = Change()
        moved = _store_each(connection, frame, now, change)
    connection.execute("RELEASE frame")
    if frame.ack is not None:
        confirm(connection, frame.box_id, frame.ack, now, moved, change)
    return change


def _store_entries(
    connection: Connection, frame: Frame, first: int, entries: Sequence[Entry], now: int, change: Change
) -> set[str]:
    """Store entries and move the tasks they are about; the ids of those tasks."""
    moved: dict[str, _Moved] = {}
    for seq, entry in enumerate(entries, first):
        _store_entry(connection, frame, seq, entry, now, change, moved)
    for task_id, move in moved.items():
        _move(connection, frame, task_id, move, now, change)
    for entry in entries:
        if isinstance(entry, ArtifactEvent):  # behind the outcome that named it
            artifacts.lose(connection, entry.artifact_id, frame.box_id, entry.why)
    return set(moved)


def _store_each(connection: Connection, frame: Frame, now: int, change: Change) -> set[str]:
    """Store entries one by one; one that cannot be is kept as it came and does nothing."""
    moved: set[str] = set()
    for seq, entry in enumerate(frame.entries, frame.from_seq):
        connection.execute("SAVEPOINT entry")
        alone = Change()
        try:
            moved |= _store_entries(connection, frame, seq, [entry], now, alone)
        except sqlite3.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - as above
            connection.execute("ROLLBACK TO entry")
            alone = Change()
            raw = entry if isinstance(entry, str) else entry.model_dump_json(exclude_none=True)
            _store_entries(connection, frame, seq, [raw], now, alone)
        connection.execute("RELEASE entry")
        change.rows += alone.rows
        change.entries += alone.entries
    return moved


def _raw_id(text: str) -> str | None:
    """The id of an entry that is not understood, where it has one: a newer box's event, say."""
    value = json.loads(text)
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _store_entry(
    connection: Connection,
    frame: Frame,
    seq: int,
    entry: Entry,
    now: int,
    change: Change,
    moved: dict[str, _Moved],
) -> None:
    task_id = state = body = None
    at = now
    if isinstance(entry, str):
        event_id = _raw_id(entry) or f"{frame.box_id}.{frame.incarnation}.{seq}"
        kind, body = "unknown", entry
    else:
        event_id, kind, at = entry.id, entry.type, corrected_ms(entry.at_ms, frame.clock_offset_ms)
        if isinstance(entry, TaskEvent):
            task_id, state = entry.task_id, str(entry.state)
        else:
            body = entry.model_dump_json()
            if isinstance(entry, ArtifactEvent):
                task_id = entry.task_id
    values = (frame.customer_id, frame.box_id, frame.incarnation, seq, event_id, kind, task_id, state, at, now, body)
    added = connection.execute(ADD_EVENT, values).fetchone()
    if added is None:  # the id is here already: a re-based log brings events again
        return
    change.entries.append(ledger_entry(added["n"], *values))
    if isinstance(entry, TaskEvent):
        _fold(moved, entry, at)


def _fold(moved: dict[str, _Moved], event: TaskEvent, at: int) -> None:
    move = moved.get(event.task_id)
    if move is None:
        move = moved[event.task_id] = _Moved(event, at)
    move.event = event
    if event.made_here is not None:
        move.made_here = event
    match event.state:
        case TaskState.ACCEPTED:
            move.accepted_at = at
        case TaskState.RUNNING:
            move.started_at = at
        case _:
            move.ended_at = at


def _move(connection: Connection, frame: Frame, task_id: str, move: _Moved, now: int, change: Change) -> None:
    event = move.event
    outcome = event.outcome
    offset = frame.clock_offset_ms
    if outcome is not None:
        move.accepted_at = _corrected(outcome.accepted_at_ms, offset, move.accepted_at)
        move.started_at = _corrected(outcome.started_at_ms, offset, move.started_at)
        move.ended_at = _corrected(outcome.ended_at_ms, offset, move.ended_at)
    known_at = [at for at in (move.first_at, move.accepted_at, move.started_at, now) if at is not None]
    values = (
        str(event.state),
        min(known_at),  # delivered: the earliest sign of life on the box
        event.attempt,
        move.accepted_at or (move.started_at if event.attempt == 1 else None),
        move.started_at,
        move.ended_at,
        now,
        None if outcome is None else outcome.exit_code,
        None if outcome is None else outcome.model_dump_json(exclude_none=True, exclude_defaults=True),
        task_id,
        frame.box_id,
        event.state in FINAL,
        RANK[event.state],
    )
    rows = connection.execute(_MOVE_TASK, values).fetchall()
    if not rows and connection.execute(TASK, (task_id,)).fetchone() is None:
        _adopt(connection, frame, task_id, move.made_here, event)
        rows = connection.execute(_MOVE_TASK, values).fetchall()
    if rows and outcome is not None and outcome.artifacts:
        artifacts.enter(connection, frame.customer_id, frame.box_id, task_id, outcome.artifacts)
    change.rows.extend(rows)


def _corrected(at: int | None, offset: int, otherwise: int | None) -> int | None:
    return otherwise if at is None else corrected_ms(at, offset)


def corrected_ms(at: int, offset: int) -> int:
    """A box's time by the hub's clock, milliseconds since 1970, within what can be written down."""
    return min(max(at + offset, 0), LATEST_MS)


def _adopt(connection: Connection, frame: Frame, task_id: str, made: TaskEvent | None, event: TaskEvent) -> None:
    """Enter a task that the hub has never heard of: made on the box, or by this hub before it was restored."""
    about = None if made is None else made.made_here
    spec = {} if about is None else about.spec
    connection.execute(
        ADD_TASK,
        (
            task_id,
            frame.customer_id,
            frame.box_id,
            str(spec.get("kind", "bash.exec")),
            pydantic_core.to_json(spec, inf_nan_mode="null").decode(),
            str(Origin.HUB if about is None else about.origin),
            "" if about is None else about.created_by,
            str(Delivery.CONFIRMED),
            frame.incarnation,
            corrected_ms(event.at_ms if about is None else about.created_at_ms, frame.clock_offset_ms),
            None,
        ),
    )

"""What the API shows of tasks, boxes and the rest: the JSON of the public contract, made from rows."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloudsync.spec import ErrorBody, Outcome
from cloudsync.task import FINAL, Delivery, Origin, TaskState
from cloudsync.view import instant, outcome_fields, when
from hub.store import Row

CONNECTED_S: Final = 45.0
STALE_S: Final = 300.0


class View(BaseModel):
    """Base of what is shown."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Artifact(View):
    """A file that a task left."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    state: Literal["pending", "stored", "lost"]
    """pending: its box has it still and sends it when it can."""
    why: str
    """Why it is lost, else empty."""


class TaskView(View):
    """A task. Times are RFC 3339 UTC; a box's times are corrected by the clock offset measured in its session."""

    id: str
    box_id: str
    kind: str
    spec: dict[str, Any]
    origin: Origin
    created_by: str
    state: TaskState
    delivery: Delivery
    attempt: int
    created_at: str
    deliver_by: str | None
    delivered_at: str | None
    accepted_at: str | None
    started_at: str | None
    ended_at: str | None
    synced_at: str | None
    """When the hub stored the newest thing it knows about the task."""
    exit_code: int | None
    """128 + n after death by signal n; null where no exit was seen."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether `stdout` or `stderr` leaves bytes out; a line in it says how many."""
    error: ErrorBody | None
    result: dict[str, Any] | None
    artifacts: list[Artifact]
    known_as_of: str
    """Up to when the hub knows: for an unfinished task, when its box was last heard."""


class Queue(View):
    """How much a box has to do, as the hub knows it."""

    queued: int
    running: int


BoxStatus = Literal["never", "connected", "stale", "lost", "quarantined", "revoked"]


class Copy(View):
    """A copy of a box that was shut out; its id is what `release` takes."""

    copy_id: str
    why: str
    hwid: str
    seen_at: str


class BoxView(View):
    """A box."""

    id: str
    name: str
    customer: str
    status: BoxStatus
    why: str
    """Why it is quarantined or revoked, else empty."""
    tags: list[str]
    last_seen_at: str | None
    enrolled_at: str
    queue: Queue
    inventory: dict[str, Any]
    health: dict[str, Any] | None = None
    """The newest pulse of a connected box."""
    copies: list[Copy] = Field(default_factory=list)


class FleetView(View):
    """The fleet in numbers."""

    boxes: dict[str, int]
    """Boxes by status."""
    tasks: dict[str, int]
    """Unfinished tasks by state."""
    as_of: str


def outcome_of(row: Row) -> Outcome:
    """What came of a task; empty while nothing has."""
    return Outcome.model_validate_json(row["outcome"]) if row["outcome"] else Outcome()


def names_artifacts(row: Row) -> bool:
    """Whether it is worth asking for the task's artifacts."""
    return '"artifacts"' in (row["outcome"] or "")


def artifact(row: Row) -> dict[str, Any]:
    """An artifact's row as the contract's JSON object."""
    return {name: row[name] for name in Artifact.model_fields}


def task(row: Row, heard_at: int | None, artifacts: Iterable[Row] = ()) -> dict[str, Any]:
    """A task's row as the contract's JSON object. `heard_at`: when its box was last heard, if ever."""
    outcome = json.loads(row["outcome"]) if row["outcome"] else {}
    open_until = max(row["created_at"], row["synced_at"] or 0, heard_at or 0)
    known = row["synced_at"] if row["state"] in FINAL else open_until
    return {
        "id": row["id"],
        "box_id": row["box_id"],
        "kind": row["kind"],
        "spec": json.loads(row["spec"]),
        "origin": row["origin"],
        "created_by": row["created_by"],
        "state": row["state"],
        "delivery": row["delivery"],
        "attempt": row["attempt"],
        "created_at": instant(row["created_at"]),
        "deliver_by": when(row["deliver_by"]),
        "delivered_at": when(row["delivered_at"]),
        "accepted_at": when(row["accepted_at"]),
        "started_at": when(row["started_at"]),
        "ended_at": when(row["ended_at"]),
        "synced_at": when(row["synced_at"]),
        "exit_code": row["exit_code"],
        **outcome_fields(outcome),
        "artifacts": [artifact(one) for one in artifacts],
        "known_as_of": instant(known),
    }


def status(row: Row, *, live: bool, last_seen_at: int | None, now: int) -> BoxStatus:
    """A box's status by what an operator decided, then by when it was last heard."""
    if row["standing"] in {"quarantined", "revoked"}:
        return "revoked" if row["standing"] == "revoked" else "quarantined"
    if last_seen_at is None:
        return "never"
    silent_s = (now - last_seen_at) / 1000
    if live and silent_s <= CONNECTED_S:
        return "connected"
    return "stale" if silent_s <= STALE_S else "lost"


def event(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A ledger entry as it is shown."""
    return {
        "n": entry["n"],
        "id": entry["id"],
        "box_id": entry["box_id"],
        "incarnation": entry["incarnation"],
        "seq": entry["seq"],
        "type": entry["type"],
        "task_id": entry["task_id"],
        "state": entry["state"],
        "at": instant(entry["at"]),
        "stored_at": instant(entry["stored_at"]),
        "detail": _detail(entry["body"]),
    }


def _detail(body: str | None) -> dict[str, Any] | None:
    if body is None:
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return {"raw": body}
    return value if isinstance(value, dict) else {"raw": body}

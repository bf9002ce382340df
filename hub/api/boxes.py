"""Paths of boxes and the fleet."""

import json
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloudsync.view import instant, when
from hub import roster, views
from hub.api.context import (
    LIST_DEFAULT,
    LIST_LIMIT,
    Body,
    Context,
    choice,
    context,
    filters,
    known_query,
    number,
    page,
    principal,
    read_model,
    reply,
    wanted_customer,
)
from hub.api.problem import responses
from hub.api.tasks import LIST_PARAMETERS, own_box, parameter
from hub.auth import require
from hub.dispatch import now_ms
from hub.store import Connection, Row
from hub.tenancy import Role
from hub.views import BoxView, FleetView

router = APIRouter(tags=["boxes"])

STATUSES: Final = ("never", "connected", "stale", "lost", "quarantined", "revoked")
_OPEN_TASKS = """
SELECT box_id, sum(state = 'running') AS running, sum(state != 'running') AS queued FROM tasks
WHERE state IN ('queued', 'accepted', 'running') {where} GROUP BY box_id"""


class BoxPage(BaseModel):
    """A page of boxes by id; `next` is the cursor of the next page."""

    items: list[BoxView]
    next: str | None


class Release(Body):
    """Which copy of a quarantined box may begin anew."""

    copy_id: str


def view(hub: Context, row: Row, queue: Row | None, customer: str, copies: list[Row]) -> dict[str, Any]:
    """A box as the API shows it."""
    session = hub.dispatch.sessions.get(row["id"])
    last_seen_at = row["last_seen_at"] if session is None else session.heard_at_ms
    return {
        "id": row["id"],
        "name": row["name"],
        "customer": customer,
        "status": views.status(row, live=session is not None, last_seen_at=last_seen_at, now=now_ms()),
        "why": row["why"],
        "tags": json.loads(row["tags"]),
        "last_seen_at": when(last_seen_at),
        "enrolled_at": instant(row["enrolled_at"]),
        "queue": {"queued": queue["queued"] if queue else 0, "running": queue["running"] if queue else 0},
        "inventory": json.loads(row["inventory"]),
        "health": None if session is None else session.health,
        "copies": [
            {
                "copy_id": one["copy_id"],
                "why": one["why"],
                "hwid": one["hwid"],
                "seen_at": instant(one["seen_at"]),
            }
            for one in copies
        ],
    }


def _read_page(
    customer_id: str | None, after: str, limit: int, connection: Connection
) -> tuple[list[Row], dict[str, Row], dict[str, str]]:
    where, values = filters({"customer_id": customer_id})
    clause = f"{where} AND id > ?" if where else "WHERE id > ?"
    query = f"SELECT * FROM boxes {clause} ORDER BY id LIMIT ?"  # noqa: S608
    boxes = connection.execute(query, (*values, after, limit)).fetchall()
    queues = {}
    if boxes:
        between = (boxes[0]["id"], boxes[-1]["id"])
        for row in connection.execute(_OPEN_TASKS.format(where="AND box_id BETWEEN ? AND ?"), between):
            queues[row["box_id"]] = row
    names = {row["id"]: row["name"] for row in connection.execute("SELECT id, name FROM customers")}
    return boxes, queues, names


@router.get(
    "/boxes",
    response_model=BoxPage,
    responses=responses(422),
    openapi_extra={
        "parameters": [
            *LIST_PARAMETERS,
            parameter("status", {"type": "string", "enum": list(STATUSES)}, "Only boxes with this status."),
            parameter("name", {"type": "string"}, "Only boxes with this name."),
            parameter("customer", {"type": "string"}, "Only boxes of this customer, by name or id."),
        ]
    },
)
async def list_boxes(request: Request) -> Response:
    """Boxes by id."""
    hub = context(request)
    known_query(request, "limit", "cursor", "status", "name", "customer")
    customer_id = wanted_customer(request)
    limit = number(request, "limit", LIST_DEFAULT, 1, LIST_LIMIT)
    wanted = choice(request, "status", STATUSES)
    name = request.query_params.get("name")
    after = request.query_params.get("cursor", "")
    items: list[dict[str, Any]] = []
    # Status is known only in memory, so the filter is applied to whole pages until one is full.
    while True:
        rows, queues, names = await hub.store.read(partial(_read_page, customer_id, after, LIST_LIMIT + 1))
        for row in rows:
            after = row["id"]
            shown = view(hub, row, queues.get(row["id"]), names.get(row["customer_id"], ""), [])
            if wanted in {None, shown["status"]} and name in {None, shown["name"]}:
                items.append(shown)
            if len(items) > limit:
                return reply(page(items[:limit], items[limit - 1]["id"]))
        if len(rows) <= LIST_LIMIT:
            return reply(page(items, None))


def _read_box(connection: Connection, box_id: str, customer_id: str) -> tuple[Row | None, str, list[Row]]:
    query = _OPEN_TASKS.format(where="AND box_id = ?")
    queue = connection.execute(query, (box_id,)).fetchone()
    customer = connection.execute("SELECT name FROM customers WHERE id = ?", (customer_id,)).fetchone()["name"]
    copies = connection.execute("SELECT * FROM copies WHERE box_id = ? ORDER BY seen_at", (box_id,)).fetchall()
    return queue, customer, copies


async def _show(hub: Context, row: Row) -> Response:
    queue, customer, copies = await hub.store.read(lambda c: _read_box(c, row["id"], row["customer_id"]))
    return reply(view(hub, row, queue, customer, copies))


@router.get("/boxes/{box_id}", response_model=BoxView, responses=responses(404))
async def get_box(box_id: str, request: Request) -> Response:
    """One box."""
    hub = context(request)
    return await _show(hub, own_box(hub, box_id, principal(request)))


@router.post("/boxes/{box_id}/revoke", response_model=BoxView, responses=responses(403, 404))
async def revoke_box(box_id: str, request: Request) -> Response:
    """Shut a box out for good; its records stay."""
    hub = context(request)
    who = principal(request)
    require(who, Role.ADMIN)
    row = await hub.store.write(lambda c: roster.revoke(c, box_id, who.customer_id))
    return await _show(hub, row)


@router.post(
    "/boxes/{box_id}/release",
    response_model=BoxView,
    responses=responses(400, 403, 404, 409, 413, 422),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": Release.model_json_schema()}}}
    },
)
async def release_box(box_id: str, request: Request) -> Response:
    """Let one copy of a quarantined box begin anew at its next hello."""
    hub = context(request)
    who = principal(request)
    require(who, Role.ADMIN)
    body = await read_model(request, Release)
    row = await hub.store.write(lambda c: roster.release(c, box_id, who.customer_id, body.copy_id))
    return await _show(hub, row)


def _read_fleet(connection: Connection, customer_id: str | None) -> tuple[list[Row], list[Row]]:
    where, values = filters({"customer_id": customer_id})
    boxes = connection.execute(f"SELECT id, standing, last_seen_at FROM boxes {where}", values).fetchall()  # noqa: S608
    clause = f"{where} AND" if where else "WHERE"
    tasks = connection.execute(
        f"""SELECT state, count(*) AS count FROM tasks {clause} state IN ('queued', 'accepted', 'running')
        GROUP BY state""",  # noqa: S608
        values,
    ).fetchall()
    return boxes, tasks


@router.get("/fleet", response_model=FleetView, responses=responses())
async def get_fleet(request: Request) -> Response:
    """The fleet in numbers."""
    hub = context(request)
    who = principal(request)
    boxes, tasks = await hub.store.read(lambda c: _read_fleet(c, who.customer_id))
    now = now_ms()
    counts = dict.fromkeys(STATUSES, 0)
    for row in boxes:
        session = hub.dispatch.sessions.get(row["id"])
        seen = row["last_seen_at"] if session is None else session.heard_at_ms
        counts[views.status(row, live=session is not None, last_seen_at=seen, now=now)] += 1
    states = {"queued": 0, "accepted": 0, "running": 0} | {row["state"]: row["count"] for row in tasks}
    return reply({"boxes": counts, "tasks": states, "as_of": instant(now)})

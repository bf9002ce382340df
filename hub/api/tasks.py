"""Paths of tasks: create, list, look, cancel."""

import hashlib
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import KINDS, SPEC, BashExec, BrowserRun, encode_spec
from cloudsync.steps import steps_schema
from cloudsync.task import FINAL, Delivery, Origin, TaskState
from hub.api.context import (
    LIST_DEFAULT,
    LIST_LIMIT,
    Context,
    choice,
    context,
    filters,
    known_query,
    number,
    page,
    principal,
    read_body,
    refused_body,
    reply,
)
from hub.api.problem import responses
from hub.auth import require
from hub.dispatch import new_id, now_ms
from hub.errors import Refusal, invalid, not_found
from hub.ledger import NewTask
from hub.store import Row
from hub.tenancy import Principal, Role
from hub.views import TaskView

router = APIRouter(tags=["tasks"])

MAX_WAIT_S: Final = 300.0
# What the entry says besides the spec: ids, times, who.
ENVELOPE_BYTES: Final = 1024
_KEY_LIMIT: Final = 255


class TaskPage(BaseModel):
    """A page of tasks, the newest first; `next` is the cursor of the next page."""

    items: list[TaskView]
    next: str | None


def parameter(name: str, schema: dict[str, Any], text: str, where: str = "query") -> dict[str, Any]:
    """An OpenAPI parameter."""
    return {"name": name, "in": where, "required": False, "schema": schema, "description": text}


LIST_PARAMETERS: Final = [
    parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT, "default": LIST_DEFAULT}, "How many at most."
    ),
    parameter("cursor", {"type": "string"}, "The `next` of the page before."),
]
_FILTERS: Final = [
    parameter("state", {"type": "string", "enum": [str(state) for state in TaskState]}, "Only tasks in this state."),
    parameter("kind", {"type": "string", "enum": list(KINDS)}, "Only tasks of this kind."),
    parameter("origin", {"type": "string", "enum": [str(origin) for origin in Origin]}, "Only tasks made there."),
    parameter("delivery", {"type": "string", "enum": [str(way) for way in Delivery]}, "Only tasks that came so far."),
    parameter("created_by", {"type": "string"}, "Only tasks whose `created_by` is this."),
]
# Its definitions stand in the document's components, where `build_api` puts them.
SPEC_SCHEMA: Final = SPEC.json_schema(ref_template="#/components/schemas/{model}")
SPEC_DEFINITIONS: Final[dict[str, Any]] = SPEC_SCHEMA.pop("$defs")
_CREATE: Final[dict[str, Any]] = {
    "parameters": [
        parameter(
            "wait_s",
            {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
            "Wait this long for the end: 200 if it came, else 202. Without it: 201 at once.",
        ),
        parameter(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": _KEY_LIMIT},
            "The same key and body gives the same task (200 or 202), with another body 409.",
            "header",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": SPEC_SCHEMA}},
    },
}


@router.post(
    "/boxes/{box_id}/tasks",
    status_code=201,
    response_model=TaskView,
    responses={
        200: {"model": TaskView, "description": "It ended, or the Idempotency-Key had made it and it has ended."},
        202: {"model": TaskView, "description": "It has not ended within `wait_s`, or was made before and goes on."},
        **responses(400, 403, 404, 409, 410, 413, 422),
    },
    openapi_extra=_CREATE,
)
async def create_task(box_id: str, request: Request) -> Response:
    """Hand a task to a box. It is committed when this answers; a box that is away gets it when it returns."""
    return await create(box_id, request)


async def create(box_id: str, request: Request) -> Response:
    """What `create_task` does."""
    hub = context(request)
    who = principal(request)
    require(who, Role.OPERATOR)
    wait_s = _wait_s(request)
    key = _idempotency_key(request)
    spec, encoded = _read_spec(await read_body(request))
    now = now_ms()
    digest = "" if key is None else hashlib.sha256(f"{box_id}\n{encoded}".encode()).hexdigest()
    task = NewTask(
        id=new_id(),
        customer_id=who.customer_id,
        box_id=box_id,
        kind=spec.kind,
        spec=encoded,
        created_by=who.name,
        created_at=now,
        deliver_by=now + int(spec.deliver_within_s * 1000),
        idempotency_key=key,
        digest=digest,
    )
    if wait_s is None:
        submitted = await hub.dispatch.submit(task)
        row = submitted.row
        if submitted.existing:
            return _answer(hub, row, 200 if row["state"] in FINAL else 202)
        return _answer(hub, row, 201)
    return await _create_and_wait(hub, task, wait_s)


async def _create_and_wait(hub: Context, task: NewTask, wait_s: float) -> Response:
    waiter = hub.dispatch.expect(task.id)
    try:
        submitted = await hub.dispatch.submit(task)
    except BaseException:
        hub.dispatch.forget(task.id, waiter)
        raise
    row: Row | None = submitted.row
    task_id = submitted.row["id"]
    if submitted.existing:
        hub.dispatch.forget(task.id, waiter)
        waiter = hub.dispatch.expect(task_id)
        row = hub.dispatch.task(task_id, None)
    if row is None or row["state"] not in FINAL:
        row = await hub.dispatch.wait(task_id, waiter, wait_s)
    else:
        hub.dispatch.forget(task_id, waiter)
    if row is not None:
        return _answer(hub, row, 200)
    return _answer(hub, hub.dispatch.task(task_id, None) or submitted.row, 202)


def _answer(hub: Context, row: Row, status: int) -> Response:
    headers = {"location": f"/api/v1/tasks/{row['id']}"} if status == 201 else None
    return reply(hub.dispatch.view(row), status, headers)


def _wait_s(request: Request) -> float | None:
    text = request.query_params.get("wait_s")
    if text is None:
        known_query(request)
        return None
    known_query(request, "wait_s")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_WAIT_S:
        errors = [{"field": "wait_s", "message": "not allowed", "allowed": "0 to 300"}]
        raise invalid(f"query: wait_s is '{text[:40]}'", errors)
    return value


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= _KEY_LIMIT and key.isprintable()):
        errors = [{"field": "Idempotency-Key", "allowed": f"1 to {_KEY_LIMIT} printable characters"}]
        raise invalid("header: Idempotency-Key is empty, too long or not printable", errors)
    return key


def _read_spec(body: bytes) -> tuple[BashExec | BrowserRun, str]:
    try:
        spec = SPEC.validate_json(body)
    except ValidationError as error:
        raise refused_body(error) from error
    encoded = encode_spec(spec)
    size = len(encoded.encode())
    if size > ENTRY_LIMIT_BYTES - ENVELOPE_BYTES:
        raise Refusal(
            413,
            "too_large",
            f"the task has {size} bytes when encoded, {ENTRY_LIMIT_BYTES - ENVELOPE_BYTES} are allowed",
            hint="let the task fetch large data, or put it on the box first",
        )
    return spec, encoded


@router.get("/steps.schema.json", response_model=dict[str, Any], responses=responses(422))
async def get_steps_schema(request: Request) -> Response:
    """The JSON schema of the steps of a browser task, as editors and checkers take it."""
    principal(request)
    known_query(request)
    return reply(steps_schema())


@router.get(
    "/tasks",
    response_model=TaskPage,
    responses=responses(422),
    openapi_extra={
        "parameters": [
            *LIST_PARAMETERS,
            *_FILTERS,
            parameter("box_id", {"type": "string"}, "Only tasks of this box."),
        ]
    },
)
async def list_tasks(request: Request) -> Response:
    """Tasks, the newest first."""
    return await _list(request, request.query_params.get("box_id"), "box_id")


@router.get(
    "/boxes/{box_id}/tasks",
    response_model=TaskPage,
    responses=responses(404, 422),
    openapi_extra={"parameters": [*LIST_PARAMETERS, *_FILTERS]},
)
async def list_box_tasks(box_id: str, request: Request) -> Response:
    """Tasks of one box, the newest first."""
    own_box(context(request), box_id, principal(request))
    return await _list(request, box_id)


async def _list(request: Request, box_id: str | None, *more: str) -> Response:
    hub = context(request)
    who = principal(request)
    known_query(request, "limit", "cursor", "state", "kind", "origin", "delivery", "created_by", *more)
    limit = number(request, "limit", LIST_DEFAULT, 1, LIST_LIMIT)
    before = number(request, "cursor", 10**12 - 1, 0, 10**12 - 1)
    where, values = filters(
        {
            "box_id": box_id,
            "customer_id": who.customer_id,
            "state": choice(request, "state", tuple(str(state) for state in TaskState)),
            "kind": choice(request, "kind", KINDS),
            "origin": choice(request, "origin", tuple(str(origin) for origin in Origin)),
            "delivery": choice(request, "delivery", tuple(str(way) for way in Delivery)),
            "created_by": request.query_params.get("created_by"),
        }
    )
    clause = f"{where} AND n < ?" if where else "WHERE n < ?"
    query = f"SELECT * FROM tasks {clause} ORDER BY n DESC LIMIT ?"  # noqa: S608
    rows = await hub.store.read(lambda c: c.execute(query, (*values, before, limit + 1)).fetchall())
    shown = rows[:limit]
    after = str(shown[-1]["n"]) if len(rows) > limit else None
    return reply(page([hub.dispatch.view(row) for row in shown], after))


@router.get("/tasks/{task_id}", response_model=TaskView, responses=responses(404))
async def get_task(task_id: str, request: Request) -> Response:
    """One task."""
    hub = context(request)
    return reply(hub.dispatch.view(own_task(hub, task_id, principal(request))))


@router.post("/tasks/{task_id}/cancel", response_model=TaskView, responses=responses(403, 404))
async def cancel_task(task_id: str, request: Request) -> Response:
    """Cancel a task: at once where it never left the hub; else the box is told and decides; a finished one stays."""
    hub = context(request)
    who = principal(request)
    require(who, Role.OPERATOR)
    row = await hub.dispatch.cancel(task_id, who.customer_id, who.name)
    return reply(hub.dispatch.view(row))


def own_task(hub: Context, task_id: str, who: Principal) -> Row:
    """The task, where it is the caller's."""
    row = hub.dispatch.task(task_id, who.customer_id)
    if row is None:
        raise not_found("task", task_id, "list them with 'operis tasks' or GET /api/v1/tasks")
    return row


def own_box(hub: Context, box_id: str, who: Principal) -> Row:
    """The box, where it is the caller's."""
    rows = hub.store.read_now("SELECT * FROM boxes WHERE id = ?", (box_id,))
    if not rows or who.customer_id not in {None, rows[0]["customer_id"]}:
        raise not_found("box", box_id, "list them with 'operis boxes' or GET /api/v1/boxes")
    return rows[0]

"""The path of the ledger's events, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from hub import views
from hub.api.context import KEEPALIVE_S, RIGHTS_S, Context, context, encode, known_query, number, principal
from hub.api.problem import responses
from hub.api.tasks import parameter
from hub.errors import invalid
from hub.store import Connection, Row
from hub.tenancy import Principal

router = APIRouter(tags=["events"])

PAGE_ENTRIES: Final = 500
_NEWEST = "SELECT coalesce(max(n), 0) AS n FROM events"
_AFTER = "SELECT * FROM events WHERE n > ? AND (?2 IS NULL OR customer_id = ?2) ORDER BY n LIMIT ?3"


@router.get(
    "/events",
    responses={
        200: {
            "description": "Server-sent events: `id` is the entry's place in the ledger, `event` its type, `data` the "
            "entry. `Last-Event-ID` (or `after`) resumes after an entry; without, only new ones come.",
            "content": {"text/event-stream": {}},
        },
        **responses(422),
    },
    openapi_extra={
        "parameters": [
            parameter("box_id", {"type": "string"}, "Only events of this box."),
            parameter("task_id", {"type": "string"}, "Only events of this task."),
            parameter("after", {"type": "integer", "minimum": 0}, "Resume after this entry."),
            parameter("Last-Event-ID", {"type": "string"}, "Resume after this entry.", "header"),
        ]
    },
)
async def get_events(request: Request) -> Response:
    """What happens, as the ledger records it."""
    hub = context(request)
    who = principal(request)
    known_query(request, "box_id", "task_id", "after")
    after = _after(request)
    wanted = {name: value for name in ("box_id", "task_id") if (value := request.query_params.get(name)) is not None}
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(hub, who, after, wanted), media_type="text/event-stream", headers=headers)


def _after(request: Request) -> int | None:
    resumed = request.headers.get("last-event-id")
    if resumed is not None:
        if not resumed.isascii() or not resumed.isdigit() or len(resumed) > 15:
            raise invalid("header: Last-Event-ID is no id of an event", [{"field": "Last-Event-ID"}])
        return int(resumed)
    if "after" in request.query_params:
        return number(request, "after", 0, 0, 10**12 - 1)
    return None


async def _stream(hub: Context, who: Principal, after: int | None, wanted: dict[str, str]) -> AsyncIterator[bytes]:
    subscriber = hub.dispatch.subscribe(who.customer_id)
    try:
        last = after
        if last is None:
            last = hub.store.read_now(_NEWEST)[0]["n"]
        yield b": open\n\n"
        while True:
            rows = await hub.store.read(partial(_read, last, who.customer_id))
            for row in rows:
                last = row["n"]
                if _matches(row, wanted):
                    yield _event(views.event(row))
            if len(rows) < PAGE_ENTRIES:
                break
        quiet_s = 0.0
        while not subscriber.behind and hub.auth.holds(who):
            try:
                async with asyncio.timeout(RIGHTS_S):
                    await subscriber.wake.wait()
            except TimeoutError:
                quiet_s += RIGHTS_S
                if quiet_s >= KEEPALIVE_S:
                    quiet_s = 0.0
                    yield b": alive\n\n"
                continue
            subscriber.wake.clear()
            while subscriber.entries:
                entry = subscriber.entries.popleft()
                if entry["n"] > last and _matches(entry, wanted):
                    yield _event(views.event(entry))
    finally:
        hub.dispatch.unsubscribe(subscriber)


def _read(after: int, customer_id: str | None, connection: Connection) -> list[Row]:
    return list(connection.execute(_AFTER, (after, customer_id, PAGE_ENTRIES)))


def _matches(entry: Any, wanted: dict[str, str]) -> bool:
    return all(entry[name] == value for name, value in wanted.items())


def _event(shown: dict[str, Any]) -> bytes:
    return f"id: {shown['n']}\nevent: {shown['type']}\ndata: ".encode() + encode(shown) + b"\n\n"

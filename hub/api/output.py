"""The path of a task's output: bytes as they are kept, or live as they come."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from cloudsync.messages import StepReport, Stream
from cloudsync.pieces import STREAMS, Piece
from cloudsync.spec import Output
from cloudsync.task import FINAL
from hub import views
from hub.api.context import KEEPALIVE_S, RIGHTS_S, Context, choice, context, encode, known_query, number, principal
from hub.api.problem import responses
from hub.api.ranges import wanted
from hub.api.tasks import own_task, parameter
from hub.artifacts import Content
from hub.store import Row
from hub.tenancy import Principal

router = APIRouter(tags=["tasks"])

# How long a plain GET of a running task's output waits for the box to send what it has.
FETCH_S: Final = 2.0
QUIET_S: Final = 0.25
# Beyond any output; its number of digits is what a query may hold.
OFFSET_LIMIT: Final = 999_999_999_999
_MEDIA_TYPE: Final = "application/octet-stream"


@router.get(
    "/tasks/{task_id}/output",
    responses={
        200: {
            "description": "The bytes, or with follow=1 server-sent events `output {stream, offset, data_b64}`, "
            "`gap {stream, from, to}`, `step {index, total, action, name, state, duration_ms}`, `end {task}`. "
            "A gap from before what came says that this was of an earlier attempt.",
            "content": {"application/octet-stream": {}, "text/event-stream": {}},
        },
        206: {"description": "The asked range.", "content": {"application/octet-stream": {}}},
        **responses(404, 410, 416, 422),
    },
    openapi_extra={
        "parameters": [
            parameter("stream", {"type": "string", "enum": list(STREAMS), "default": "stdout"}, "Which stream."),
            parameter("follow", {"type": "string", "enum": ["0", "1"]}, "1: both streams live, as events."),
            *(
                parameter(
                    f"from_{name}",
                    {"type": "integer", "minimum": 0, "maximum": OFFSET_LIMIT, "default": 0},
                    f"With follow=1: {name} from this byte on, for a client that comes again and has the rest.",
                )
                for name in STREAMS
            ),
            parameter("Range", {"type": "string"}, "`bytes=FROM-TO`", "header"),
        ]
    },
)
async def get_output(task_id: str, request: Request) -> Response:
    """A task's output. Of a finished task the bytes that are kept: all of them once the artifact has come that holds
    what its outcome could not; of a running one what its box sends just now."""
    hub = context(request)
    who = principal(request)
    row = own_task(hub, task_id, who)
    known_query(request, "stream", "follow", "from_stdout", "from_stderr")
    stream: Stream = "stderr" if choice(request, "stream", STREAMS) == "stderr" else "stdout"
    if choice(request, "follow", ("0", "1")) == "1":
        seen = {name: number(request, f"from_{name}", 0, 0, OFFSET_LIMIT) for name in STREAMS}
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(_follow(hub, who, row, seen), media_type="text/event-stream", headers=headers)
    if row["state"] in FINAL:
        outcome = views.outcome_of(row)
        output = outcome.stdout if stream == "stdout" else outcome.stderr
        whole = _whole(hub, row, stream, output)
        if whole is not None:
            return await _file(request, hub, whole)
        return _bytes(request, output.data(), cut=bool(output.cut_bytes))
    data, cut = await _fetch(hub, row, stream)
    return _bytes(request, data, cut=cut)


def _whole(hub: Context, row: Row, stream: Stream, output: Output) -> Content | None:
    """The artifact that holds all of a stream of which the outcome holds the ends, where it has come."""
    for one in hub.dispatch.artifacts(row) if output.cut_bytes else ():
        if one["name"] == f"{stream}.txt" and one["state"] == "stored" and one["size_bytes"] == output.total_bytes:
            return Content(one["customer_id"], one["sha256"], one["size_bytes"])
    return None


def _bytes(request: Request, data: bytes, *, cut: bool) -> Response:
    span = wanted(request, len(data))
    if isinstance(span, Response):
        return span
    headers = {"operis-truncated": "true" if cut else "false"} | span.headers()
    return Response(data[span.start : span.stop], span.status, headers, _MEDIA_TYPE)


async def _file(request: Request, hub: Context, content: Content) -> Response:
    span = wanted(request, content.size_bytes)
    if isinstance(span, Response):
        return span
    pieces = await hub.blobs.read(content, span.start, span.stop)
    return StreamingResponse(pieces, span.status, {"operis-truncated": "false"} | span.headers(), _MEDIA_TYPE)


def _watch(hub: Context, row: Row) -> Any:
    task_id, box_id = row["id"], row["box_id"]

    def follow() -> None:
        if (session := hub.dispatch.sessions.get(box_id)) is not None:
            session.follow(task_id, hub.dispatch.live.offsets(task_id))

    def unfollow() -> None:
        if (session := hub.dispatch.sessions.get(box_id)) is not None:
            session.unfollow(task_id)

    return hub.dispatch.live.watch(task_id, box_id, follow, unfollow, row["attempt"])


async def _fetch(hub: Context, row: Row, stream: Stream) -> tuple[bytes, bool]:
    """What the box has of a running task's output, as far as it comes quickly, and whether bytes are left out."""
    data = bytearray()
    cut = False
    async with _watch(hub, row) as watcher:
        wait_s = FETCH_S
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    pieces = await watcher.next()
            except TimeoutError:
                return bytes(data), cut
            if not pieces:
                final = hub.dispatch.task(row["id"], None)
                outcome = views.outcome_of(row if final is None else final)
                output = outcome.stdout if stream == "stdout" else outcome.stderr
                return output.data(), bool(output.cut_bytes)
            wait_s = QUIET_S
            for piece in pieces:
                if isinstance(piece, Piece) and piece.stream == stream:
                    cut = cut or piece.data is None
                    data += piece.data or b""


async def _follow(hub: Context, who: Principal, row: Row, seen: dict[Stream, int]) -> AsyncIterator[bytes]:
    async with _watch(hub, row) as watcher:
        watcher.seen.update(seen)
        final = hub.dispatch.task(row["id"], None) or row
        quiet_s = 0.0
        while final["state"] not in FINAL:
            if not hub.auth.holds(who):
                return
            try:
                async with asyncio.timeout(RIGHTS_S):
                    pieces = await watcher.next()
            except TimeoutError:
                quiet_s += RIGHTS_S
                if quiet_s >= KEEPALIVE_S:
                    quiet_s = 0.0
                    yield b": alive\n\n"
                continue
            if not pieces:
                final = hub.dispatch.task(row["id"], None) or row
                break
            for event in _events(pieces):
                yield event
        for event in _events(watcher.rest(views.outcome_of(final))):
            yield event
        yield _event("end", {"task": hub.dispatch.view(final)})


def _events(pieces: Iterable[Piece | StepReport]) -> Iterable[bytes]:
    for piece in pieces:
        if isinstance(piece, StepReport):
            yield _event("step", piece.model_dump(exclude={"type", "task_id"}))
        elif piece.data != b"":
            yield _event(*piece.event())


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode(data) + b"\n\n"

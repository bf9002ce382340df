"""Paths by which operators read what tasks left."""

from typing import Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from cloudsync.view import instant
from hub import artifacts, views
from hub.api.context import (
    LIST_DEFAULT,
    Body,
    Context,
    context,
    known_query,
    number,
    page,
    principal,
    read_model,
    reply,
)
from hub.api.problem import responses
from hub.api.ranges import wanted
from hub.api.tasks import LIST_PARAMETERS, own_task, parameter
from hub.artifacts import Content
from hub.dispatch import now_ms
from hub.errors import Refusal, not_found
from hub.signing import Link
from hub.store import Row
from hub.viewer import PATH as VIEWER

router = APIRouter(tags=["artifacts"])

LINK_S: Final = 3600.0
LINK_LIMIT_S: Final = 24 * 3600.0
# What a browser shows by itself and no page can have made a program of. All else is only saved.
_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "text/plain"})
# A page may have had a hand in what a browser task left: nothing of it runs, and nothing is what it does not say it is.
_HEADERS: Final = {
    "cache-control": "private, no-cache",
    "content-security-policy": "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TRACE: Final = "application/zip"
_MEDIA_TYPE: Final = "application/octet-stream"


class ArtifactPage(BaseModel):
    """A page of artifacts; `next` is the cursor of the next page."""

    items: list[views.Artifact]
    next: str | None


class LinkRequest(Body):
    """How long a link is good."""

    ttl_s: float = LINK_S
    """Seconds, at most a day."""


class LinkView(BaseModel):
    """A link that needs no key. Both are paths on this hub."""

    url: str
    """Of a trace: Playwright's viewer with the trace open in it; else the artifact itself."""
    download_url: str
    expires_at: str


@router.get(
    "/tasks/{task_id}/artifacts",
    response_model=ArtifactPage,
    responses=responses(404, 422),
    openapi_extra={"parameters": LIST_PARAMETERS},
)
async def list_artifacts(task_id: str, request: Request) -> Response:
    """Files that a task left. `state`: pending, its box sends it when it can; stored; lost, and why."""
    hub = context(request)
    row = own_task(hub, task_id, principal(request))
    known_query(request, "limit", "cursor")
    limit = number(request, "limit", LIST_DEFAULT, 1, 500)
    after = number(request, "cursor", 0, 0, 10**12 - 1)
    rows = hub.store.read_now(artifacts.OF_TASK, (row["id"], after, limit + 1))
    shown = rows[:limit]
    following = str(shown[-1]["n"]) if len(rows) > limit else None
    return reply(page([views.artifact(one) for one in shown], following))


@router.get(
    "/artifacts/{artifact_id}",
    responses={
        200: {"description": "The bytes.", "content": {_MEDIA_TYPE: {}}},
        206: {"description": "The asked range.", "content": {_MEDIA_TYPE: {}}},
        304: {"description": "If-None-Match has its sha256."},
        **responses(404, 409, 410, 416, 422),
    },
    openapi_extra={
        "parameters": [
            parameter("Range", {"type": "string"}, "`bytes=FROM-TO`", "header"),
            parameter("If-None-Match", {"type": "string"}, "The sha256 in quotes.", "header"),
            parameter("by", {"type": "string"}, "Of a link: who made it."),
            parameter("expires", {"type": "integer"}, "Of a link: until when it is good."),
            parameter("signature", {"type": "string"}, "Of a link, instead of an API key."),
        ]
    },
)
async def get_artifact(artifact_id: str, request: Request) -> Response:
    """The bytes of an artifact. Whatever they are, they run nowhere: they are sandboxed and never sniffed."""
    hub = context(request)
    row = _linked(hub, artifact_id, request) if "signature" in request.query_params else None
    if row is None:
        known_query(request)
        row = own_artifact(hub, artifact_id, principal(request).customer_id)
    content = stored_content(row)
    etag = f'"{row["sha256"]}"'
    headers = _HEADERS | {"etag": etag, "content-disposition": _disposition(row)}
    if etag in {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    span = wanted(request, row["size_bytes"], etag)
    if isinstance(span, Response):
        return span
    return StreamingResponse(
        await hub.blobs.read(content, span.start, span.stop),
        span.status,
        headers | span.headers(),
        _plain(row["media_type"]) or _MEDIA_TYPE,
    )


@router.post(
    "/artifacts/{artifact_id}/link",
    response_model=LinkView,
    responses=responses(400, 404, 409, 410, 413, 422),
    openapi_extra={
        "requestBody": {"required": False, "content": {"application/json": {"schema": LinkRequest.model_json_schema()}}}
    },
)
async def make_link(artifact_id: str, request: Request) -> Response:
    """A link to an artifact that needs no key, for a while: a trace opens in Playwright's viewer."""
    hub = context(request)
    who = principal(request)
    row = own_artifact(hub, artifact_id, who.customer_id)
    stored_content(row)
    ttl_s = (await read_model(request, LinkRequest, empty=True)).ttl_s
    if not 0 < ttl_s <= LINK_LIMIT_S:
        errors = [{"field": "ttl_s", "message": "not allowed", "allowed": f"more than 0, at most {LINK_LIMIT_S:.0f}"}]
        raise Refusal(422, "invalid", f"ttl_s is {ttl_s}", hint="name a shorter time", errors=errors)
    link = Link(artifact_id, who.key_id, int(now_ms() / 1000 + ttl_s) + 1)
    query = {"by": link.key_id, "expires": link.expires_s, "signature": hub.signer.signature(link)}
    download = f"/api/v1/artifacts/{quote(artifact_id, safe='')}?{urlencode(query)}"
    is_trace = row["media_type"] == _TRACE and "trace" in row["name"]
    url = f"{VIEWER}?{urlencode({'trace': download})}" if is_trace else download
    return reply({"url": url, "download_url": download, "expires_at": instant(link.expires_s * 1000)})


def own_artifact(hub: Context, artifact_id: str, customer_id: str | None) -> Row:
    """The artifact, where it is this customer's (None: any)."""
    rows = hub.store.read_now(artifacts.ONE, (artifact_id,))
    if not rows or not artifacts.is_of(rows[0], customer_id):
        raise not_found("artifact", artifact_id[:80], "a task's are listed at /api/v1/tasks/ID/artifacts")
    return rows[0]


def stored_content(row: Row) -> Content:
    """What lies in the store of it; 409 where it has not come yet, 410 where it will not."""
    match row["state"]:
        case "stored":
            return Content(row["customer_id"], row["sha256"], row["size_bytes"])
        case "lost":
            hint = "its name, size and sha256 are all that is left of it"
            raise Refusal(410, "lost", f"'{row['name']}' is lost: {row['why']}", hint=hint)
        case _:
            detail = f"'{row['name']}' has not come from box '{row['box_id']}' yet"
            raise Refusal(
                409, "pending", detail, hint="the box sends it when it is connected and has no outcomes to send"
            )


def _linked(hub: Context, artifact_id: str, request: Request) -> Row:
    """The artifact that a link is to; 401 where the link is not good."""
    known_query(request, "by", "expires", "signature")
    query = request.query_params
    link = Link(artifact_id, query.get("by", ""), number(request, "expires", 0, 0, 10**12 - 1))
    hint = "make another with POST /api/v1/artifacts/ID/link"
    if not hub.signer.is_signed(link, query["signature"]):
        raise Refusal(401, "bad_link", "the link was not made by this hub", hint=hint)
    if link.expires_s * 1000 < now_ms():
        until = instant(link.expires_s * 1000)
        raise Refusal(401, "link_expired", f"the link was good until {until}", hint=hint)
    maker = hub.auth.by_id(link.key_id)
    if maker is None:
        raise Refusal(401, "link_revoked", "the API key that made the link is revoked", hint=hint)
    return own_artifact(hub, artifact_id, maker.customer_id)


def _disposition(row: Row) -> str:
    media_type = row["media_type"].partition(";")[0].strip().lower()
    how = "inline" if media_type in _SHOWN else "attachment"
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in row["name"]
    )
    named = quote(row["name"], safe="", errors="replace")
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{named}"


def _plain(media_type: str) -> str:
    """The media type, where it is one: it goes into a header."""
    is_one = media_type.isascii() and media_type.isprintable() and "/" in media_type
    return media_type if is_one else ""

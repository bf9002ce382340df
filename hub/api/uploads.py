"""Paths by which boxes send what their tasks left: in pieces, wherever a piece is cut, by the token of their session.

A box asks how much of a content is here and sends from there on, as often as it takes. What a cut request brought is
kept. Nothing of it can be read before all of it is here and has the sha256 that the outcome named.
"""

import errno
import logging
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from hub import artifacts
from hub.api.context import DISCARD_LIMIT_BYTES, Context, context, known_query, reply
from hub.api.problem import responses
from hub.api.tasks import parameter
from hub.artifacts import Content
from hub.auth import bearer
from hub.blobs import full
from hub.dispatch import now_ms
from hub.errors import Refusal
from hub.signing import SessionToken
from hub.tenancy import PLAN_ARTIFACT_BYTES

log = logging.getLogger(__name__)

router = APIRouter(tags=["uploads"])

# Written in one go; what many slow boxes hold in memory at once is this for each.
WRITE_BYTES: Final = 256 * 1024
# Uploads at the same time; another one is told to come later.
AT_ONCE: Final = 64
_HINT: Final = "it comes with the welcome of the box's session and is good as long as that lasts"


class UploadView(BaseModel):
    """How much of a content is here."""

    offset: int
    """The next byte that is wanted."""
    size_bytes: int
    is_complete: bool
    """It is whole, verified and durable."""


_PARAMETERS: Final[dict[str, Any]] = {
    "parameters": [
        {
            **parameter("Upload-Offset", {"type": "integer", "minimum": 0}, "Where the body begins.", "header"),
            "required": True,
        }
    ],
    "requestBody": {"required": True, "content": {"application/octet-stream": {}}},
}


@router.get("/uploads/{sha256}", response_model=UploadView, responses=responses(404))
async def get_upload(sha256: str, request: Request) -> Response:
    """How much of a content that an outcome of this box names is here. For boxes."""
    hub = context(request)
    token = session(hub, request)
    known_query(request)
    content, is_settled = _expected(hub, token, sha256)
    return _answer(hub, content, token.box_id, is_complete=is_settled)


@router.patch(
    "/uploads/{sha256}",
    response_model=UploadView,
    responses=responses(404, 409, 413, 422, 507),
    openapi_extra=_PARAMETERS,
)
async def append_upload(sha256: str, request: Request) -> Response:
    """Send a content on from an offset, some or all of what is missing. For boxes.

    409: the offset is another, which is told. 422: it is all here and has another sha256; it begins anew.
    """
    try:
        return await _take(sha256, request)
    finally:
        await _drain(request)


async def _take(sha256: str, request: Request) -> Response:
    hub = context(request)
    token = session(hub, request)
    known_query(request)
    content, is_settled = _expected(hub, token, sha256)
    if is_settled:
        return _answer(hub, content, token.box_id, is_complete=True)
    offset = _offset(request)
    if offset != (here := hub.blobs.offset(content, token.box_id)):
        raise _elsewhere(offset, here)
    if hub.uploading >= AT_ONCE:
        hint = "the box tries again by itself"
        raise Refusal(503, "busy", f"{AT_ONCE} boxes are sending already", hint=hint)
    hub.blobs.check_room(content, offset, _quota(hub, token.customer_id))
    hub.uploading += 1
    try:
        here = await _receive(hub, token, content, offset, request)
        if here < content.size_bytes:
            return _answer(hub, content, token.box_id, is_complete=False)
        await _complete(hub, token, content)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full("the hub's disk is full") from error
        raise
    finally:
        hub.uploading -= 1
    return _answer(hub, content, token.box_id, is_complete=True)


async def _drain(request: Request) -> None:
    """Read what is left of the body, and throw it away: closing on a box that still sends would cost it the answer."""
    size = 0
    with suppress(ClientDisconnect, RuntimeError):  # RuntimeError: it was read to its end
        async for part in request.stream():
            size += len(part)
            if size > DISCARD_LIMIT_BYTES:
                return


def session(hub: Context, request: Request) -> SessionToken:
    """Whose session the request is of; 401 where its token is not good, or no longer."""
    text = bearer(request.headers.get("authorization"))
    if text is None:
        raise Refusal(401, "no_token", "the request carries no session's token", hint=_HINT)
    token = hub.signer.read_token(text)
    if token is None:
        raise Refusal(401, "bad_token", "this hub gave no such token to a session", hint=_HINT)
    check_live(hub, token)
    return token


def check_live(hub: Context, token: SessionToken) -> None:
    """401 where the session is over: another one took its place, it was cut, or the box was shut out."""
    live = hub.dispatch.sessions.get(token.box_id)
    rows = hub.store.read_now("SELECT fence, standing FROM boxes WHERE id = ?", (token.box_id,))
    is_newest = bool(rows) and (rows[0]["fence"], rows[0]["standing"]) == (token.fence, "active")
    if live is None or live.fence != token.fence or not is_newest:
        detail = f"the token is of session {token.fence} of box '{token.box_id}', which is over"
        raise Refusal(401, "token_expired", detail, hint=_HINT)


def _expected(hub: Context, token: SessionToken, sha256: str) -> tuple[Content, bool]:
    """The content, where an outcome of the box names it, and whether nothing of it is wanted any more."""
    rows = hub.store.read_now(artifacts.EXPECTED, (token.customer_id, sha256, token.box_id))
    if not rows:
        hint = "a content is sent after the outcome that names it was acked"
        detail = f"no outcome of box '{token.box_id}' names a content with sha256 {sha256[:64]}"
        raise Refusal(404, "not_named", detail, hint=hint)
    return Content(token.customer_id, sha256, rows[0]["size_bytes"]), bool(rows[0]["is_settled"])


def _offset(request: Request) -> int:
    text = request.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        errors = [{"field": "Upload-Offset", "message": "a number of bytes, from 0 on"}]
        raise Refusal(422, "invalid", "header: Upload-Offset is missing or no number", hint=_FROM, errors=errors)
    return int(text)


_FROM: Final = "ask with GET from which offset to send on"


def _elsewhere(offset: int, here: int) -> Refusal:
    detail = f"the body begins at byte {offset}, and {here} bytes are here"
    return Refusal(409, "wrong_offset", detail, hint=_FROM, extra={"offset": here})


async def _receive(hub: Context, token: SessionToken, content: Content, offset: int, request: Request) -> int:
    """Write the body as it comes; how much is here then. What came before a cut is written too."""
    waiting = bytearray()
    try:
        async for part in request.stream():
            waiting += part
            if offset + len(waiting) > content.size_bytes:
                raise _too_large(content)
            if len(waiting) >= WRITE_BYTES:
                offset = await _append(hub, token, content, offset, waiting)
    except ClientDisconnect:
        await _append(hub, token, content, offset, waiting)
        raise Refusal(400, "cut_off", "the request ended before its body did", hint=_FROM) from None
    return await _append(hub, token, content, offset, waiting)


async def _append(hub: Context, token: SessionToken, content: Content, offset: int, waiting: bytearray) -> int:
    check_live(hub, token)
    if waiting or not offset:
        data = bytes(waiting)
        waiting.clear()
        if not await hub.blobs.append(content, token.box_id, offset, data):
            raise _elsewhere(offset, hub.blobs.offset(content, token.box_id))
        offset += len(data)
    return offset


def _too_large(content: Content) -> Refusal:
    detail = f"the outcome named {content.size_bytes} bytes, and more came"
    return Refusal(413, "too_large", detail, hint="the file on the box has changed since: give it up")


async def _complete(hub: Context, token: SessionToken, content: Content) -> None:
    if not await hub.blobs.complete(content, token.box_id):
        hint = "send it again from the start; where that ends the same way, the file on the box has changed"
        raise Refusal(422, "wrong_sha256", f"what came has another sha256 than {content.sha256}", hint=hint)
    if await hub.store.write(lambda c: artifacts.store(c, content, now_ms())):
        hub.blobs.count(content.customer_id, content.size_bytes)
    log.info("artifact stored: box=%s sha256=%s bytes=%d", token.box_id, content.sha256, content.size_bytes)


def _quota(hub: Context, customer_id: str) -> int | None:
    rows = hub.store.read_now("SELECT plan FROM customers WHERE id = ?", (customer_id,))
    return PLAN_ARTIFACT_BYTES.get(rows[0]["plan"]) if rows else 0


def _answer(hub: Context, content: Content, box_id: str, *, is_complete: bool) -> Response:
    offset = content.size_bytes if is_complete else hub.blobs.offset(content, box_id)
    return reply({"offset": offset, "size_bytes": content.size_bytes, "is_complete": is_complete})

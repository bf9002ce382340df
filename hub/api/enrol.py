"""The path by which a box enrols."""

import logging

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloudsync.identity import is_public_key
from hub import roster
from hub.api.context import Body, context, read_model, reply
from hub.api.problem import responses
from hub.dispatch import now_ms
from hub.errors import invalid
from hub.roster import Application

log = logging.getLogger(__name__)

router = APIRouter(tags=["enrolment"])


class Enrolment(Body):
    """What a box sends. The token is its only right; the key is its identity from then on."""

    token: str
    public_key: str
    """Ed25519, 32 raw bytes, base64."""
    name: str
    hwid: str = ""
    hostname: str = ""


class Enrolled(BaseModel):
    """What the box is told."""

    box_id: str
    """Its name where that was free, else NAME-2 …"""
    hub: str
    """The hub's name, which the box pins."""
    customer: str


@router.post(
    "/enrol",
    status_code=201,
    response_model=Enrolled,
    responses={
        200: {"model": Enrolled, "description": "This key is enrolled already."},
        **responses(400, 403, 409, 413, 422),
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": Enrolment.model_json_schema()}}}
    },
)
async def enrol(request: Request) -> Response:
    """Enrol a box by a token. Again with the same key: the same answer."""
    hub = context(request)
    body = await read_model(request, Enrolment)
    if not is_public_key(body.public_key):
        errors = [{"field": "public_key", "message": "an Ed25519 public key, 32 bytes in base64"}]
        raise invalid("public_key is no key", errors)
    application = Application(body.token, body.public_key, body.name, body.hwid[:128], body.hostname[:255])
    row, is_new = await hub.store.write(lambda c: roster.enrol(c, application, now_ms()))
    customers = hub.store.read_now("SELECT name FROM customers WHERE id = ?", (row["customer_id"],))
    if is_new:
        log.info("box enrolled: box=%s customer=%s", row["id"], customers[0]["name"])
    answer = {"box_id": row["id"], "hub": hub.hub_name, "customer": customers[0]["name"]}
    return reply(answer, 201 if is_new else 200)

"""What the local API answers where it cannot do what was asked: RFC 9457 problem documents, each with a hint."""

import logging
from http import HTTPStatus
from typing import Final

import pydantic_core
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from appliance.errors import Refusal, TaskRefused
from cloudsync import problem as documents
from cloudsync.problem import FIELD_LIMIT, MEDIA_TYPE
from cloudsync.spec import ErrorBody

log = logging.getLogger(__name__)

_STATUSES: Final = {"disk_full": 507, "stopping": 503, "too_large": 413}


def problem(refusal: Refusal) -> Response:
    """The response to a refusal."""
    document = documents.document(refusal.status, refusal.code, refusal.detail, refusal.hint, refusal.more)
    return Response(pydantic_core.to_json(document), refusal.status, media_type=MEDIA_TYPE)


def wrong_query(name: str, message: str, allowed: object) -> Refusal:
    """422 for a parameter of the query."""
    errors = [{"field": name[:FIELD_LIMIT], "message": message, "allowed": allowed}]
    words = ", ".join(map(str, allowed)) if isinstance(allowed, list | tuple) else str(allowed)
    return Refusal(
        422, "invalid", f"query: {name[:FIELD_LIMIT]} {message}", f"Allowed: {words or 'nothing'}.", {"errors": errors}
    )


def wrong_body(error: ValidationError) -> Refusal:
    """400 where the body is no JSON; 422 that names each wrong field, with what is allowed."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, "not_json", f"the body is not JSON: {first['msg']}", "Send a JSON object as the body.")
    errors = documents.wrong_fields(error)
    detail = documents.said("the body", errors, error.error_count())
    return Refusal(422, "invalid", detail, "Correct the fields named in 'errors'.", {"errors": errors})


def refused_task(refused: TaskRefused) -> Refusal:
    """The answer to a task that is not accepted."""
    error: ErrorBody = refused.error
    return Refusal(_STATUSES.get(error.code, 422), error.code, error.message, error.hint)


async def on_refusal(_: Request, error: Exception) -> Response:
    """A handler of Starlette's."""
    assert isinstance(error, Refusal)  # noqa: S101 - it is registered for these
    return problem(error)


async def on_http(request: Request, error: Exception) -> Response:
    """404 and 405 of the router."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path[:FIELD_LIMIT]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem(Refusal(405, "method", f"{path} does not take {request.method}", "GET and POST are known."))
    hint = "Known are /status, /tasks, /tasks/{id} with /cancel, /output and /artifacts, and /artifacts/{id}."
    return problem(Refusal(status, "not_found", f"there is no {path}", hint))


async def on_failure(request: Request, error: Exception) -> Response:
    """What must not happen."""
    log.error("request failed: %s", request.method, exc_info=error)
    hint = "It is in the daemon's log; report it if it stays."
    return problem(Refusal(500, "internal", "the box failed on this request", hint))

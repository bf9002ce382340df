"""Errors of the API as RFC 9457 problem documents, each with a hint."""

import logging
from http import HTTPStatus
from typing import Any, Final

import pydantic_core
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from cloudsync import problem as problem_documents
from cloudsync.problem import ERROR_LIMIT, FIELD_LIMIT, MEDIA_TYPE
from hub.errors import CORRECT, Refusal, StoreUnavailable

log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(extra="allow")

    field: str
    message: str = ""
    allowed: Any = None


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str = "about:blank"
    title: str
    status: int
    code: str
    """A stable word for programs."""
    detail: str
    hint: str
    """What to do about it."""
    errors: list[FieldProblem] = Field(default_factory=list)


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text, "content": {MEDIA_TYPE: {}}}
    for status, text in {
        400: "The request is not JSON or not HTTP as it should be.",
        401: "No API key, or one that is unknown or revoked.",
        403: "The key's role is not enough.",
        404: "There is no such thing, or it is another customer's.",
        405: "The path does not take this method.",
        409: "It conflicts with what is there.",
        410: "It was there and is no longer kept.",
        413: "The body is over its limit.",
        416: "The range lies outside of what there is.",
        422: "A field is wrong; `errors` names each.",
        507: "There is no room for it now; what is here stays.",
        503: "The database cannot commit now; nothing was accepted.",
    }.items()
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a path: these, and the ones that any path can give."""
    return {status: RESPONSES[status] for status in sorted({401, 405, 503, *statuses})}


def problem(refusal: Refusal) -> Response:
    """The response to a refusal."""
    more = {**refusal.extra, "errors": refusal.errors} if refusal.errors else refusal.extra
    document = problem_documents.document(refusal.status, refusal.code, refusal.detail, refusal.hint, more)
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else None
    return Response(pydantic_core.to_json(document), refusal.status, headers, MEDIA_TYPE)


def unavailable(error: StoreUnavailable) -> Response:
    """The response where the database could not commit."""
    hint = "nothing was accepted; free disk space on the hub and send it again"
    return problem(Refusal(503, "store_unavailable", str(error), hint=hint))


def unprocessable(error: ValidationError | RequestValidationError, what: str = "the request") -> Refusal:
    """422 that names each wrong field, with what is allowed where pydantic knows it; values are left out."""
    total = len(error.errors()) if isinstance(error, RequestValidationError) else error.error_count()
    if isinstance(error, RequestValidationError):
        # FastAPI's begin with where in the request it is.
        places = [(".".join(map(str, item["loc"][1:])), item["msg"]) for item in error.errors()[:ERROR_LIMIT]]
        errors = [{"field": place[:FIELD_LIMIT] or "body", "message": message} for place, message in places]
    else:
        errors = problem_documents.wrong_fields(error)
    return Refusal(422, "invalid", problem_documents.said(what, errors, total), hint=CORRECT, errors=errors)


def install(app: FastAPI) -> None:
    """Turn every error of the app into a problem document."""

    @app.exception_handler(Refusal)
    async def _refusal(_: Request, error: Refusal) -> Response:
        return problem(error)

    @app.exception_handler(StoreUnavailable)
    async def _unavailable(_: Request, error: StoreUnavailable) -> Response:
        return unavailable(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return problem(unprocessable(error))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        hint = {
            404: "the paths are described at /openapi.json",
            405: "the methods are described at /openapi.json",
        }.get(error.status_code, "the API is described at /openapi.json")
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        answer = problem(
            Refusal(error.status_code, code, f"{request.method} {request.url.path[:200]}: {error.detail}", hint=hint)
        )
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer

    @app.exception_handler(Exception)
    async def _failure(_: Request, __: Exception) -> Response:
        return failed()


def failed() -> Response:
    """The response to what must not happen."""
    hint = "it is logged on the hub; try again, and report it if it stays"
    return problem(Refusal(500, "internal", "the hub failed on this request", hint=hint))

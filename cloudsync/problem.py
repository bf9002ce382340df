"""Problem documents (RFC 9457), as the hub's API, its relay and a box's local API answer them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError

from cloudsync.complaint import complaints

MEDIA_TYPE: Final = "application/problem+json"
# More of what is wrong is not told,
ERROR_LIMIT: Final = 20
# and a field that the caller made up is repeated no further.
FIELD_LIMIT: Final = 200


def document(status: int, code: str, detail: str, hint: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document; `code` is a stable word for programs, `more` are further members."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        **(more or {}),
    }


def wrong_fields(error: ValidationError) -> list[dict[str, Any]]:
    """Its member `errors`: each wrong field, with what is allowed where that is known; values are left out."""
    return [
        {"field": one.field[:FIELD_LIMIT] or "body", "message": one.message}
        | ({"allowed": one.allowed} if one.allowed else {})
        for one in complaints(error, ERROR_LIMIT)
    ]


def said(what: str, errors: Sequence[Mapping[str, Any]], total: int) -> str:
    """Its `detail`: the first of `total` errors of `what`. One about a step names its field itself."""
    first = errors[0]
    words = first["message"] if first["message"].startswith("step ") else f"{first['field']}: {first['message']}"
    return f"{what}: {words}" + (f" (and {total - 1} more)" if total > 1 else "")

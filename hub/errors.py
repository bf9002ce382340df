"""What the hub answers when it cannot do what it was asked.

HubError
├── Refusal            the caller's mistake: one of the RFC 9457 problems below, with what to do
├── StoreUnavailable   the disk is full or failing: nothing was accepted, nothing is lost
└── StartError         the operator's mistake at start: folder, port, version
"""

from typing import Any, Final

CORRECT: Final = "correct the fields named in 'errors'; /openapi.json describes them all"


class HubError(Exception):
    """Base of all errors of the hub."""


class Refusal(HubError):
    """A request that is answered with a problem document. Raised before anything was written."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: list[dict[str, Any]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = errors
        self.extra = extra or {}


class StoreUnavailable(HubError):
    """The database could not commit."""


class StartError(HubError):
    """The hub cannot start; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def not_found(what: str, name: str, hint: str = "") -> Refusal:
    """404 for something that does not exist or belongs to another customer: the two look the same."""
    return Refusal(404, "not_found", f"there is no {what} '{name}'", hint=hint)


def forbidden(detail: str, hint: str = "") -> Refusal:
    """403: the key is good, its role is not enough."""
    return Refusal(403, "forbidden", detail, hint=hint)


def invalid(detail: str, errors: list[dict[str, Any]] | None = None, hint: str = CORRECT) -> Refusal:
    """422: a field is wrong; `errors` names each."""
    return Refusal(422, "invalid", detail, hint=hint, errors=errors)

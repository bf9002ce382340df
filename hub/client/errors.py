"""What can go wrong between the operator and a hub. Each says what happened, to what, and what to do.

ClientError
├── Misuse        the operator's: what was typed cannot be done
├── Unreachable   nobody's or the network's: no answer came, and the same call may succeed later
├── NoHub         the address's: something answered there, and it is no hub
└── Refused       the hub's own answer: a problem document (RFC 9457)
"""

from collections.abc import Sequence
from typing import Any

from cloudsync import errors


class ClientError(Exception):
    """Base of all; `hint` says what to do now, empty where nothing is known to help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Misuse(ClientError, errors.Misuse):
    """The command line or the environment asks for what cannot be."""


class Unreachable(ClientError):
    """No answer came: refused, timed out, cut off, no such host, or no trust in the certificate."""

    def __init__(self, message: str, hint: str = "", *, passing: bool = True) -> None:
        super().__init__(message, hint)
        self.passing = passing
        """Whether trying again may help."""


class NoHub(ClientError):
    """The answer is not one that a hub gives."""


class Refused(ClientError):
    """The hub understood and refused."""

    def __init__(self, status: int, message: str, hint: str = "", fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, hint)
        self.status = status
        self.fields = fields
        """The fields that are wrong, and what is wrong with each."""

    @classmethod
    def from_problem(cls, status: int, problem: dict[str, Any]) -> "Refused":
        """Put a problem document into one sentence: its detail, then each field that is wrong."""
        message = str(problem.get("detail") or problem.get("title"))
        errors = problem.get("errors")
        wrong = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
        for field in wrong:
            message = _with_field(message, field)
        hint = str(problem.get("hint") or "")
        if status == 401 and not hint:
            hint = "give a key of this hub with --key or OPERIS_KEY"
        if status == 403 and not hint:
            hint = "use a key with a higher role"
        fields = [(str(each.get("field") or ""), str(each.get("message") or "")) for each in wrong]
        return cls(status, message, hint, fields)


def _with_field(message: str, field: dict[str, Any]) -> str:
    """The sentence with what it does not say yet of a field: its name, what is wrong, what is allowed."""
    name, wrong, allowed = str(field.get("field") or ""), str(field.get("message") or ""), field.get("allowed")
    if name not in message or (wrong not in message and wrong != "not allowed"):
        message = "; ".join([message.rstrip("."), ": ".join(part for part in (name, wrong) if part)])
    # Bounds that come as an object are in the sentence already.
    if isinstance(allowed, str | list) and allowed:
        message += f" (allowed: {allowed if isinstance(allowed, str) else ', '.join(map(str, allowed))})"
    return message

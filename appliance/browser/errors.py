"""What can go wrong with a browser task.

BoxError
├── MessageWrong        the peer's: what it sent is no HTTP message that we pass on
├── Unreachable         nobody's: a site that was allowed could not be connected to
├── StepFailed          the task's: a step did not do what it was to do; `code` and `hint` say more
├── BrowserStuck        nobody's: the browser does not answer any more and is replaced
├── BrowserUnable       the operator's: no browser can be had; `error` says why, with a hint
└── ContextRefused      the task's maker's: the browser cannot be as the task wants it; `error` says why
"""

from appliance.errors import BoxError
from cloudsync.spec import ErrorBody


class MessageWrong(BoxError):
    """A message of HTTP that is malformed, ambiguous or too large; `status` is what its sender is answered."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(BoxError):
    """A name without an address, a connection that was refused, or no answer in time."""


class StepFailed(BoxError):
    """A step did not do what it was to do; the message says what was seen instead."""

    def __init__(self, message: str, *, code: str = "step_failed", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class BrowserStuck(BoxError):
    """A call that must return did not."""


class BrowserUnable(BoxError):
    """No browser is installed, or it does not start."""

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error.message)
        self.error = error


class ContextRefused(BoxError):
    """A device, locale, proxy or the like that there is not."""

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error.message)
        self.error = error

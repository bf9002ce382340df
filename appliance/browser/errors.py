"""What can go wrong with a browser task.

BoxError
├── MessageWrong        the peer's: what it sent is no HTTP message that we pass on
├── Unreachable         nobody's: a site that was allowed could not be connected to
└── StepFailed          the task's: a step did not do what it was to do; `code` and `hint` say more
"""

from appliance.errors import BoxError


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

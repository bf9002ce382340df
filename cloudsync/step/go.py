"""Steps that go somewhere, or wait for something to come."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, WrapValidator, model_validator

from cloudsync.step.base import Filled, Framed, Milliseconds, Pattern, StepBase, Text, one_of

LoadState = Literal["load", "domcontentloaded", "networkidle"]
WaitUntil = Literal["load", "domcontentloaded", "networkidle", "commit"]
Wanted = Annotated[
    Filled | Pattern, WrapValidator(one_of('text that is not empty, or {"regex": …} with a regular expression'))
]
Status = Annotated[int, Field(ge=100, le=599)]


class Goto(StepBase):
    """Go to an address."""

    VALUE: ClassVar[str] = "`{url, status}` of the page that was reached, redirects followed"

    action: Literal["goto"]
    url: Filled
    """The address: `http:`, `https:` or `about:blank`."""
    wait_until: WaitUntil = "load"
    """When it counts as reached."""
    referer: Text | None = None
    """The address to say one comes from."""


class Back(StepBase):
    """Go back in the tab's history; fails where there is nothing to go back to."""

    VALUE: ClassVar[str] = "`{url, status}` of the page that was reached"

    action: Literal["back"]
    wait_until: WaitUntil = "load"
    """When it counts as reached."""


class Forward(StepBase):
    """Go forward in the tab's history; fails where there is nothing to go forward to."""

    VALUE: ClassVar[str] = "`{url, status}` of the page that was reached"

    action: Literal["forward"]
    wait_until: WaitUntil = "load"
    """When it counts as reached."""


class Reload(StepBase):
    """Load the page again."""

    VALUE: ClassVar[str] = "`{url, status}` of the page"

    action: Literal["reload"]
    wait_until: WaitUntil = "load"
    """When it counts as reached."""


class WaitFor(Framed):
    """Wait for exactly one thing: an element, an address, a text, a load state, a response, or some time."""

    LOOKS_FOR: ClassVar[tuple[str, ...]] = ("selector", "text")
    VALUE: ClassVar[str] = "for `response` its `{url, status}`, for `url` the address, else nothing"

    action: Literal["wait_for"]
    selector: Filled | None = None
    """Wait until this element is in `state`."""
    state: Literal["attached", "detached", "visible", "hidden"] = "visible"
    """The state to wait for, of `selector` or `text`."""
    url: Wanted | None = None
    """Wait until the tab's address is this: a glob as in `**/done`, or `{"regex": …}`."""
    text: Filled | None = None
    """Wait until an element with this text is in `state`."""
    load_state: LoadState | None = None
    """Wait until the page has come this far."""
    response: Wanted | None = None
    """Wait for a response from such an address. One that came since the step before began counts."""
    status: Status | None = None
    """The status that the response must have."""
    milliseconds: Milliseconds | None = None
    """Wait so long."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        things = ("selector", "url", "text", "load_state", "response", "milliseconds")
        if sum(getattr(self, thing) is not None for thing in things) != 1:
            raise ValueError(f"takes exactly one of {', '.join(things)}")
        if self.status is not None and self.response is None:
            raise ValueError("status belongs to response")
        return self

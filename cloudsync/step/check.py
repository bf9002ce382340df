"""The step that checks what a page shows."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, WrapValidator, model_validator

from cloudsync.step.base import Filled, Framed, Pattern, Text, one_of

Expected = Annotated[Text | Pattern, WrapValidator(one_of('text, or {"regex": …} with a regular expression'))]


class Expect(Framed):
    """Wait until all that is named is so; else fail, saying what was seen instead."""

    LOOKS_FOR: ClassVar[tuple[str, ...]] = ("selector", "text")
    VALUE: ClassVar[str] = "what was seen of each thing that was checked"

    action: Literal["expect"]
    selector: Filled | None = None
    """The element, for text, value, count, visible and hidden; without one, `text` is looked for in the whole page."""
    text: Expected | None = None
    """It holds this text, white space aside, or with `exact` is it; or `{"regex": …}`."""
    value: Expected | None = None
    """The input holds just this."""
    count: Annotated[int, Field(ge=0)] | None = None
    """So many elements match."""
    visible: bool | None = None
    """It is shown (true), or is not or is not there (false)."""
    hidden: bool | None = None
    """It is not shown or not there (true), or is shown (false)."""
    url: Expected | None = None
    """The tab's address is this: a glob as in `**/done`, or `{"regex": …}`."""
    title: Expected | None = None
    """The page's title is just this."""
    exact: bool = False
    """Whether `text` is the whole text of the element."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        of_element = ("value", "count", "visible", "hidden")
        named = [field for field in (*of_element, "text", "url", "title") if getattr(self, field) is not None]
        if not named:
            raise ValueError("takes at least one of text, value, count, visible, hidden, url, title")
        if self.selector is None and (needing := [field for field in named if field in of_element]):
            raise ValueError(f"{needing[0]} needs a selector")
        return self

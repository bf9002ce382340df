"""What all steps share: their common fields, and the kinds of text, number and pattern that their fields hold."""

import re
from collections.abc import Callable, Sized
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_STEP_TIMEOUT_S: Final = 24 * 3600.0
NAME_LIMIT: Final = 100

T = TypeVar("T", bound=Sized)

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
# A name becomes the name of a file, on the box and where it is downloaded to.
_LABEL: Final = re.compile(rf"[^/\\\x00-\x1f\x7f]{{1,{NAME_LIMIT}}}\Z")


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode without lone surrogates") from error
    return text


def _label(text: str) -> str:
    if not _LABEL.match(text) or text.strip(". ") == "":
        raise ValueError(
            f"a name has 1 to {NAME_LIMIT} characters, no slash, backslash or control character, and not only dots"
        )
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.match(text):
        raise ValueError(
            "a variable's name has letters, digits and _ only, at most 64, and does not start with a digit"
        )
    return text


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _at_least_one(items: T) -> T:
    if not items:
        raise ValueError("takes at least 1 item")
    return items


def _say_at_least_one(schema: dict[str, Any]) -> None:
    schema["minProperties" if schema.get("type") == "object" else "minItems"] = 1


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def one_of(allowed: str) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """A validator that says in one sentence what a field of several types takes, not each type's own complaint."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            ours = next((found["msg"] for found in error.errors() if found["type"] == "value_error"), "")
            why = ours.removeprefix("Value error, ")
            text = "takes {allowed}" + (": it {why}" if why else "")
            raise PydanticCustomError("one_of", text, {"allowed": allowed, "why": why}) from error

    return validate


# A bound of pydantic's own would count the items that are right, and complain of a list whose only item is wrong.
AtLeastOne = Annotated[T, AfterValidator(_at_least_one), Field(json_schema_extra=_say_at_least_one)]
Text = Annotated[str, AfterValidator(_encodable)]
Filled = Annotated[Text, AfterValidator(_not_empty)]
Label = Annotated[Text, AfterValidator(_label)]
VariableName = Annotated[Text, AfterValidator(_variable)]
Seconds = Annotated[float, Field(gt=0, le=MAX_STEP_TIMEOUT_S, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, le=MAX_STEP_TIMEOUT_S * 1000, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=16384)]


class Part(BaseModel):
    """Base of steps and of the objects inside them: unknown fields are refused, nothing is converted."""

    # Built when first used by itself: the union of all builds its own copy, and a program's start pays for one only.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)


class Pattern(Part):
    """A regular expression, searched for anywhere in the text (Python's `re`). One whose search takes more than half a
    second of the processor fails its step."""

    regex: Annotated[Filled, AfterValidator(_regular_expression)]
    """The expression; `{{…}}` in it is filled in before it is compiled."""
    ignore_case: bool = False
    """Whether upper and lower case are the same."""


class Position(Part):
    """A point relative to the top-left corner of an element, in CSS pixels."""

    x: Number
    """To the right."""
    y: Number
    """Down."""


class StepBase(Part):
    """Fields that any step takes."""

    VALUE: ClassVar[str] = ""
    """What the step's value is; empty where it has none."""

    name: Label | None = None
    """A label. A file that the step keeps is stored under it; the default is as in `03-screenshot.png`."""
    timeout_s: Seconds | None = None
    """Seconds that the step may take; 30 by default, and never more than what is left of the task's time."""
    continue_on_error: bool = False
    """Whether the steps after it run, and the task may succeed, even where this one fails."""
    save_as: VariableName | None = None
    """The name of a variable that gets the step's value: `{{name}}` in a later string inserts it."""


Frame = Annotated[
    Filled | AtLeastOne[Annotated[tuple[Filled, ...], Field(max_length=16, strict=False)]],
    WrapValidator(one_of("the selector of an iframe, or a list of such selectors")),
]


class Framed(StepBase):
    """Base of steps that may look into a frame."""

    LOOKS_FOR: ClassVar[tuple[str, ...]] = ("selector",)
    """Fields of which one makes the step look for something, so that a frame has a meaning."""

    frame: Frame | None = None
    """Selector of the `iframe` to look in, or a list of them from the outermost to the innermost."""

    @model_validator(mode="after")
    def _looks_in_frame(self) -> Self:
        if self.frame is not None and not any(getattr(self, field) for field in self.LOOKS_FOR):
            raise ValueError(f"frame goes with {' or '.join(self.LOOKS_FOR)}")
        return self


class Targeted(Framed):
    """Base of steps on one element."""

    selector: Filled
    """The element, in Playwright's locator syntax; it must be the only one that matches."""

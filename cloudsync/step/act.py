"""Steps that act on a page."""

import base64
import binascii
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, WrapValidator, model_validator

from cloudsync.step.base import (
    Filled,
    Framed,
    Label,
    Milliseconds,
    Number,
    Part,
    Pixels,
    Position,
    StepBase,
    Targeted,
    Text,
    one_of,
)

Button = Literal["left", "right", "middle"]
Modifier = Literal["Alt", "Control", "ControlOrMeta", "Meta", "Shift"]
Modifiers = Annotated[tuple[Modifier, ...], Field(max_length=5, strict=False)]
FILES_LIMIT: Final = 20


class Pointed(Targeted):
    """Base of steps that point at an element."""

    position: Position | None = None
    """Where in the element; its middle by default."""
    modifiers: Modifiers = ()
    """Keys held down meanwhile."""
    force: bool = False
    """Whether to skip the checks that it is visible, still and not covered."""


class Click(Pointed):
    """Click an element."""

    action: Literal["click"]
    button: Button = "left"
    """The mouse's button."""
    click_count: Annotated[int, Field(ge=1, le=3)] = 1
    """How many clicks."""
    delay: Milliseconds = 0.0
    """Milliseconds between press and release."""


class Dblclick(Pointed):
    """Click an element twice."""

    action: Literal["dblclick"]
    button: Button = "left"
    """The mouse's button."""
    delay: Milliseconds = 0.0
    """Milliseconds between press and release."""


class Hover(Pointed):
    """Move the mouse over an element."""

    action: Literal["hover"]


class Focus(Targeted):
    """Give an element the focus."""

    action: Literal["focus"]


class Fill(Targeted):
    """Set the text of an input, a textarea or an editable element at once."""

    action: Literal["fill"]
    text: Text
    """What it then holds; empty clears it."""
    force: bool = False
    """Whether to skip the checks that it is visible, enabled and editable."""


class TypeText(Targeted):
    """Type into an element key by key, as a person does; what it holds stays before it."""

    action: Literal["type"]
    text: Text
    """What to type."""
    delay: Milliseconds = 0.0
    """Milliseconds between two keys."""


class Press(Framed):
    """Press a key, or several together."""

    action: Literal["press"]
    selector: Filled | None = None
    """The element that gets the focus first; by default the key goes to what has it."""
    key: Filled
    """Its name, as in `Enter`, `a`, `ArrowDown`, `Control+A`, `ControlOrMeta+C`."""
    delay: Milliseconds = 0.0
    """Milliseconds between press and release."""


class Check(Targeted):
    """Tick a checkbox or choose a radio button; nothing where it is so already."""

    action: Literal["check"]
    force: bool = False
    """Whether to skip the checks that it is visible, still and not covered."""


class Uncheck(Targeted):
    """Untick a checkbox; nothing where it is so already."""

    action: Literal["uncheck"]
    force: bool = False
    """Whether to skip the checks that it is visible, still and not covered."""


Texts = Annotated[
    Text | Annotated[tuple[Text, ...], Field(max_length=1000, strict=False)],
    WrapValidator(one_of("text, or a list of texts")),
]
Index = Annotated[int, Field(ge=0)]
Indexes = Annotated[
    Index | Annotated[tuple[Index, ...], Field(max_length=1000, strict=False)],
    WrapValidator(one_of("a number from 0 on, or a list of them")),
]


class SelectOption(Targeted):
    """Choose options of a `select` element, by exactly one of label, value and index."""

    VALUE: ClassVar[str] = "the values of the options that are then chosen"

    action: Literal["select_option"]
    label: Texts | None = None
    """The text that is shown, or several; an empty list chooses none."""
    value: Texts | None = None
    """The option's `value`, or several."""
    index: Indexes | None = None
    """The option's place, from 0 on, or several."""
    force: bool = False
    """Whether to skip the checks that it is visible and enabled."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.label, self.value, self.index)) != 1:
            raise ValueError("takes exactly one of label, value, index")
        return self


def _base64(text: str) -> str:
    if "{{" not in text:
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("is no base64") from error
    return text


class InlineFile(Part):
    """A file whose content stands in the step: exactly one of text and data_b64."""

    name: Label
    """The name that the page sees."""
    mime_type: Filled = "application/octet-stream"
    """Its media type."""
    text: Text | None = None
    """Its content as text, written as UTF-8."""
    data_b64: Annotated[Text, AfterValidator(_base64)] | None = None
    """Its content as base64."""

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.data_b64 is None):
            raise ValueError("takes exactly one of text, data_b64")
        return self


File = Annotated[
    Filled | InlineFile,
    WrapValidator(one_of('the path of a file on the box, or {"name", "mime_type", "text" or "data_b64"}')),
]


class SetInputFiles(Targeted):
    """Choose the files of a file input."""

    action: Literal["set_input_files"]
    files: Annotated[tuple[File, ...], Field(max_length=FILES_LIMIT, strict=False)]
    """Files: paths on the box, names of files that an earlier step kept, or `{name, text}`; empty chooses none."""


class DragTo(Targeted):
    """Drag an element onto another."""

    action: Literal["drag_to"]
    target: Filled
    """The element to drop it on."""
    source_position: Position | None = None
    """Where to take it."""
    target_position: Position | None = None
    """Where to drop it."""
    force: bool = False
    """Whether to skip the checks that both are visible, still and not covered."""


class Scroll(Framed):
    """Scroll an element into view, or turn the mouse's wheel over it or over the page."""

    action: Literal["scroll"]
    selector: Filled | None = None
    """The element; without `delta_x` and `delta_y` it is scrolled into view."""
    delta_x: Number = 0.0
    """Pixels to the right."""
    delta_y: Number = 0.0
    """Pixels down."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.selector is None and not self.delta_x and not self.delta_y:
            raise ValueError("takes a selector, a delta_x or a delta_y")
        return self


class Dialog(StepBase):
    """Set the answer to dialogs (alert, confirm, prompt) that open after it; until then they are dismissed."""

    VALUE: ClassVar[str] = "the dialogs that have opened so far, each `{type, message}`"

    action: Literal["dialog"]
    accept: bool
    """Whether to accept them."""
    prompt_text: Text | None = None
    """What to answer to a prompt."""


class SetViewport(StepBase):
    """Set the size of the page's window."""

    action: Literal["set_viewport"]
    width: Pixels
    """In CSS pixels."""
    height: Pixels
    """In CSS pixels."""

"""Steps that read from a page; their value is what they read."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, JsonValue, WrapValidator

from cloudsync.step.base import AtLeastOne, Filled, Framed, Part, StepBase, Targeted, one_of

FIELDS_LIMIT: Final = 100


class ReadText(Framed):
    """Read the text of an element as it is shown."""

    VALUE: ClassVar[str] = "the text"

    action: Literal["text"]
    selector: Filled = "body"
    """The element; the whole page by default."""


class ReadValue(Targeted):
    """Read what an input, a textarea or a select holds."""

    VALUE: ClassVar[str] = "its value"

    action: Literal["value"]


class ReadAttribute(Targeted):
    """Read an attribute of an element."""

    VALUE: ClassVar[str] = "its text, null where the element has no such attribute"

    action: Literal["attribute"]
    attribute: Filled
    """The attribute's name, as in `href`."""


class InnerHtml(Framed):
    """Read the markup inside an element."""

    VALUE: ClassVar[str] = "the HTML"

    action: Literal["inner_html"]
    selector: Filled = "body"
    """The element; the whole page's body by default."""


class Count(Framed):
    """Count the elements that match now; it waits for none."""

    VALUE: ClassVar[str] = "how many"

    action: Literal["count"]
    selector: Filled
    """The elements."""


class Table(Framed):
    """Read a table: an object a row with the header's cells as keys, a list a row where there is no header."""

    VALUE: ClassVar[str] = "the rows; a cell that spans several stands in each of them"

    action: Literal["table"]
    selector: Filled = "table"
    """The table; where several match, the first."""
    header: bool | None = None
    """Whether its first row is a header; by default it is where all its cells are `th` or it stands in `thead`."""


class Links(Framed):
    """Read the links inside an element."""

    VALUE: ClassVar[str] = "a list of `{text, href}`, addresses absolute, in the order of the page"

    action: Literal["links"]
    selector: Filled = "body"
    """The element; the whole page by default."""


class Extraction(Part):
    """What to read for one name, where a selector alone does not say it."""

    selector: Filled
    """The element, looked for inside the outer one."""
    attribute: Filled | None = None
    """Read this attribute instead of the text."""
    all: bool = False
    """Read all elements that match, into a list, instead of the first."""
    fields: "dict[Filled, Wish] | None" = None
    """Read an object from each element, as `extract` does from the page."""


Wish = Annotated[
    Filled | Annotated[tuple[Filled], Field(strict=False)] | Extraction,
    WrapValidator(one_of('a selector, a list of one selector (for all that match), or {"selector", "attribute", …}')),
]
Extraction.model_rebuild()


class Extract(Framed):
    """Read several things at once into an object; what is not there is null. It waits for none."""

    VALUE: ClassVar[str] = "an object with the names of `fields`"

    action: Literal["extract"]
    fields: AtLeastOne[Annotated[dict[Filled, Wish], Field(max_length=FIELDS_LIMIT)]]
    """Names and what to read for each: `"h1"` the first one's text, `["li"]` the texts of all,
    `{"selector": "tr", "all": true, "fields": {…}}` an object a row."""
    selector: Filled = "html"
    """The element to look inside."""


class Evaluate(Framed):
    """Run JavaScript in the page."""

    LOOKS_FOR: ClassVar[tuple[str, ...]] = ("selector", "expression")
    VALUE: ClassVar[str] = "what it returned, as JSON; a promise is awaited"

    action: Literal["evaluate"]
    expression: Filled
    """An expression, or a function, which is called: with the element where `selector` is given, then with `arg`."""
    arg: JsonValue = None
    """A value handed to the function."""
    selector: Filled | None = None
    """The element handed to the function."""


class AriaSnapshot(Framed):
    """Read the page as assistive technology sees it: roles, names and values as YAML, short enough for a model."""

    VALUE: ClassVar[str] = "the snapshot's text, cut at `max_chars`"

    action: Literal["aria_snapshot"]
    selector: Filled = "body"
    """The element; the whole page by default."""
    mode: Literal["ai", "default"] = "default"
    """`ai` also gives each element a reference, as in `[ref=e5]`, that the selector `aria-ref=e5` finds."""
    depth: Annotated[int, Field(ge=1)] | None = None
    """How deep to go; all by default."""
    max_chars: Annotated[int, Field(ge=100, le=60_000)] = 20_000
    """Characters at most; what was left out is said at the end."""


class Title(StepBase):
    """Read the page's title."""

    VALUE: ClassVar[str] = "the title"

    action: Literal["title"]


class Url(StepBase):
    """Read the tab's address."""

    VALUE: ClassVar[str] = "the address"

    action: Literal["url"]

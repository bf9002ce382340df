"""Steps that keep something: files, cookies, the profile."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from cloudsync.step.base import AtLeastOne, Filled, Framed, Number, Part, StepBase, Text

# A mini-PC keeps what it downloads on a small disk.
DOWNLOAD_LIMIT_MIB: Final = 100
# A larger file is not kept, whatever left it: it would take a poor link for days.
ARTIFACT_LIMIT_MIB: Final = 2048


class Clip(Part):
    """A part of the page, in CSS pixels from its top-left corner."""

    x: Number
    """Left edge."""
    y: Number
    """Upper edge."""
    width: Annotated[float, Field(gt=0, le=16384)]
    """Width."""
    height: Annotated[float, Field(gt=0, le=16384)]
    """Height."""


class Screenshot(Framed):
    """Keep a picture of the page, the full page, or an element."""

    LOOKS_FOR: ClassVar[tuple[str, ...]] = ("selector", "mask")
    VALUE: ClassVar[str] = "the file's name"

    action: Literal["screenshot"]
    type: Literal["png", "jpeg", "webp"] = "png"
    """The picture's format."""
    full_page: bool = False
    """Whether to take the whole page, not just what the window shows."""
    selector: Filled | None = None
    """Take this element only."""
    quality: Annotated[int, Field(ge=0, le=100)] | None = None
    """Quality of a jpeg or webp; 80 by default."""
    clip: Clip | None = None
    """Take this part only."""
    mask: Annotated[tuple[Filled, ...], Field(max_length=50, strict=False)] = ()
    """Selectors of elements to cover in the picture."""
    omit_background: bool = False
    """Whether a page without a background stays transparent; not for jpeg."""
    animations: Literal["allow", "disabled"] = "allow"
    """Whether animations are stopped first."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.quality is not None and self.type == "png":
            raise ValueError("quality is for jpeg and webp")
        if self.omit_background and self.type == "jpeg":
            raise ValueError("omit_background is not for jpeg")
        if sum((self.full_page, self.selector is not None, self.clip is not None)) > 1:
            raise ValueError("takes only one of full_page, selector, clip")
        return self


class Margin(Part):
    """A page's margins, as in `1cm`, `0.5in`, `10px`."""

    top: Filled = "0"
    """Upper margin."""
    right: Filled = "0"
    """Right margin."""
    bottom: Filled = "0"
    """Lower margin."""
    left: Filled = "0"
    """Left margin."""


class Pdf(StepBase):
    """Keep the page as a PDF."""

    VALUE: ClassVar[str] = "the file's name"

    action: Literal["pdf"]
    format: Literal["A0", "A1", "A2", "A3", "A4", "A5", "A6", "Letter", "Legal", "Tabloid", "Ledger"] = "A4"
    """The paper's size."""
    landscape: bool = False
    """Whether the paper lies on its long side."""
    print_background: bool = False
    """Whether backgrounds are printed."""
    scale: Annotated[float, Field(ge=0.1, le=2)] = 1.0
    """How much larger than usual."""
    page_ranges: Text | None = None
    """Pages to print, as in `1-5, 8`; all by default."""
    prefer_css_page_size: bool = False
    """Whether a size that the page's CSS names wins over `format`."""
    margin: Margin | None = None
    """Margins of the paper; none by default."""


class Download(Framed):
    """Keep a file that the page offers: by a click on what starts the download, or from its address."""

    VALUE: ClassVar[str] = "`{file, suggested_name, url, size_bytes}`"

    action: Literal["download"]
    selector: Filled | None = None
    """The element to click."""
    url: Filled | None = None
    """The file's address."""
    max_mib: Annotated[float, Field(gt=0, le=ARTIFACT_LIMIT_MIB, allow_inf_nan=False)] = DOWNLOAD_LIMIT_MIB
    """The step fails, and keeps nothing, where the file is larger than so many MiB."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.selector is None) == (self.url is None):
            raise ValueError("takes exactly one of selector, url")
        return self


class GetCookies(StepBase):
    """Read the browser's cookies."""

    VALUE: ClassVar[str] = "a list of cookies as `set_cookies` takes them"

    action: Literal["get_cookies"]
    urls: Annotated[tuple[Filled, ...], Field(max_length=100, strict=False)] = ()
    """Only those that are sent to these addresses; all by default."""


class Cookie(Part):
    """A cookie: for a url, or for a domain and a path."""

    name: Filled
    """Its name."""
    value: Text
    """Its value."""
    url: Filled | None = None
    """The address it is for."""
    domain: Filled | None = None
    """The domain it is for; a leading dot includes those under it."""
    path: Filled | None = None
    """The path it is for, with a domain."""
    expires: Number | None = None
    """When it ends, in seconds since 1970; by default with the task."""
    httpOnly: bool | None = None  # noqa: N815 - Playwright's name
    """Whether scripts cannot read it."""
    secure: bool | None = None
    """Whether it is sent over https only."""
    sameSite: Literal["Strict", "Lax", "None"] | None = None  # noqa: N815 - Playwright's name
    """Whether other sites' pages send it."""

    @model_validator(mode="after")
    def _place(self) -> Self:
        if (self.url is None) == (self.domain is None):
            raise ValueError("takes exactly one of url, domain")
        if self.path is not None and self.domain is None:
            raise ValueError("path goes with domain")
        return self


class SetCookies(StepBase):
    """Set cookies."""

    action: Literal["set_cookies"]
    cookies: AtLeastOne[Annotated[tuple[Cookie, ...], Field(max_length=500, strict=False)]]
    """The cookies."""


class SaveProfile(StepBase):
    """Keep cookies and storage, as they are when the task has succeeded, in its `profile`."""

    action: Literal["save_profile"]

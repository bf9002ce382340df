"""The steps of a browser task: one union, told apart by `action`; the same as JSON, YAML and published schema."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, TypeAdapter

from cloudsync.step.act import (
    Check,
    Click,
    Dblclick,
    Dialog,
    DragTo,
    Fill,
    Focus,
    Hover,
    Press,
    Scroll,
    SelectOption,
    SetInputFiles,
    SetViewport,
    TypeText,
    Uncheck,
)
from cloudsync.step.base import AtLeastOne, StepBase
from cloudsync.step.check import Expect
from cloudsync.step.go import Back, Forward, Goto, Reload, WaitFor
from cloudsync.step.keep import Download, GetCookies, Pdf, SaveProfile, Screenshot, SetCookies
from cloudsync.step.read import (
    AriaSnapshot,
    Count,
    Evaluate,
    Extract,
    InnerHtml,
    Links,
    ReadAttribute,
    ReadText,
    ReadValue,
    Table,
    Title,
    Url,
)
from cloudsync.step.tabs import CloseTab, NewTab, SwitchTab

Going = Goto | Back | Forward | Reload | WaitFor
Acting = (
    Click
    | Dblclick
    | Hover
    | Focus
    | Fill
    | TypeText
    | Press
    | Check
    | Uncheck
    | SelectOption
    | SetInputFiles
    | DragTo
    | Scroll
    | Dialog
    | SetViewport
)
Reading = (
    ReadText
    | ReadValue
    | ReadAttribute
    | InnerHtml
    | Count
    | Table
    | Links
    | Extract
    | Evaluate
    | AriaSnapshot
    | Title
    | Url
)
Keeping = Screenshot | Pdf | Download | GetCookies | SetCookies | SaveProfile
Tabbing = NewTab | SwitchTab | CloseTab

Step = Annotated[Going | Acting | Reading | Expect | Keeping | Tabbing, Field(discriminator="action")]

MAX_STEPS: Final = 500
Steps = AtLeastOne[Annotated[tuple[Step, ...], Field(max_length=MAX_STEPS, strict=False)]]
STEPS: Final[TypeAdapter[tuple[Step, ...]]] = TypeAdapter(Steps, config=ConfigDict(defer_build=True))

# The groups as they are documented, each a title and its steps.
GROUPS: Final[dict[str, tuple[type[StepBase], ...]]] = {
    "Go": (Goto, Back, Forward, Reload, WaitFor),
    "Act": (
        Click,
        Dblclick,
        Hover,
        Focus,
        Fill,
        TypeText,
        Press,
        Check,
        Uncheck,
        SelectOption,
        SetInputFiles,
        DragTo,
        Scroll,
        Dialog,
        SetViewport,
    ),
    "Read": (
        ReadText,
        ReadValue,
        ReadAttribute,
        InnerHtml,
        Count,
        Table,
        Links,
        Extract,
        Evaluate,
        AriaSnapshot,
        Title,
        Url,
    ),
    "Check": (Expect,),
    "Keep": (Screenshot, Pdf, Download, GetCookies, SetCookies, SaveProfile),
    "Tabs": (NewTab, SwitchTab, CloseTab),
}
SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def action_of(kind: type[StepBase]) -> str:
    """The word that names a kind of step."""
    return str(kind.model_fields["action"].annotation.__args__[0])  # type: ignore[union-attr]


ACTIONS: Final[dict[str, type[StepBase]]] = {action_of(kind): kind for group in GROUPS.values() for kind in group}


def fields_of(kind: type[StepBase]) -> list[str]:
    """The fields that a kind of step takes, its own before those of any step."""
    common = set(StepBase.model_fields)
    own = [name for name in kind.model_fields if name not in common and name != "action"]
    return own + [name for name in kind.model_fields if name in common]


def steps_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a list of steps."""
    schema = STEPS.json_schema()
    return {"$schema": SCHEMA_DIALECT, "title": "Steps of a browser task", **schema}

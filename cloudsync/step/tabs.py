"""Steps on tabs. Tabs are counted from 0 in the order they were opened; steps act on the current one."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from cloudsync.step.base import Filled, StepBase
from cloudsync.step.go import WaitUntil, Wanted

TabIndex = Annotated[int, Field(ge=0)]


class NewTab(StepBase):
    """Open a tab and make it the current one."""

    VALUE: ClassVar[str] = "the tab's index"

    action: Literal["new_tab"]
    url: Filled | None = None
    """Where to go in it."""
    wait_until: WaitUntil = "load"
    """When it counts as reached."""


class SwitchTab(StepBase):
    """Make another tab the current one, by exactly one of index, url and title; it waits for one to open."""

    VALUE: ClassVar[str] = "`{index, url, title}` of the tab"

    action: Literal["switch_tab"]
    index: TabIndex | None = None
    """Its index."""
    url: Wanted | None = None
    """Its address: a glob as in `**/done`, or `{"regex": …}`."""
    title: Wanted | None = None
    """Its title, whole, or `{"regex": …}`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.index, self.url, self.title)) != 1:
            raise ValueError("takes exactly one of index, url, title")
        return self


class CloseTab(StepBase):
    """Close a tab; the one that was opened before it becomes the current one. The last tab cannot be closed."""

    action: Literal["close_tab"]
    index: TabIndex | None = None
    """Its index; the current one by default."""

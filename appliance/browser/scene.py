"""What the steps of one task act on: its tabs, files, variables, and the time they have."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Frame, FrameLocator, Locator, Page

from appliance.browser.errors import StepFailed
from appliance.browser.files import KeptFiles
from appliance.browser.tabs import Tabs
from cloudsync.step.base import Framed

STEP_TIMEOUT_S: Final = 30.0
# Playwright takes 0 for no deadline at all.
LEAST_MS: Final = 1.0


@dataclass(slots=True)
class Scene:
    """The state that steps share. Times are the loop's."""

    tabs: Tabs
    files: KeptFiles
    explain: Callable[[str | None], str | None]
    """Why an address cannot be reached, where the box's own filter refused it."""
    variables: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    """The step in hand, from 1 on."""
    began_s: float = 0.0
    before_s: float = 0.0
    """When the step in hand began, and the one before it."""
    deadline_s: float = 0.0
    """When the step in hand must have ended."""
    is_profile_wanted: bool = False

    @property
    def page(self) -> Page:
        """The current tab."""
        return self.tabs.current

    def left_s(self) -> float:
        """Seconds that the step has left."""
        return max(self.deadline_s - asyncio.get_running_loop().time(), 0.0)

    def left_ms(self) -> float:
        """The same for Playwright."""
        return max(self.left_s() * 1000, LEAST_MS)

    def root(self, step: Framed) -> Page | FrameLocator:
        """Where the step looks for elements: the page, or the frame that it names."""
        root: Page | FrameLocator = self.page
        for selector in _path(step):
            root = root.frame_locator(selector)
        return root

    def locate(self, step: Framed, selector: str) -> Locator:
        """The elements that a selector means."""
        return self.root(step).locator(selector)

    async def frame(self, step: Framed) -> Page | Frame:
        """The frame itself that the step names, or the page."""
        frame: Page | Frame = self.page
        for selector in _path(step):
            handle = await frame.locator(selector).element_handle(timeout=self.left_ms())
            inner = await handle.content_frame()
            if inner is None:
                raise StepFailed(f"'{selector}' is no iframe")
            frame = inner
        return frame


def _path(step: Framed) -> tuple[str, ...]:
    match step.frame:
        case None:
            return ()
        case str() as selector:
            return (selector,)
        case selectors:
            return selectors

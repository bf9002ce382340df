"""Ends what a context shows that is not of the web, however it got there: files, the browser's own pages, data."""

import asyncio
from typing import Final

from playwright.async_api import BrowserContext, Error, Frame, Page

from appliance.browser.allow import scheme_allowed, scheme_of

# What a page makes of its own content; all that such content asks for goes through the proxy like the rest.
OF_A_PAGE: Final = frozenset({"about", "blob", "data"})
# The page that the browser puts in the place of one that could not be loaded.
OF_AN_ERROR: Final = "chrome-error"
# The viewer of PDF files, whose frames are an extension's.
OF_A_VIEWER: Final = "chrome-extension"
END_LIMIT_S: Final = 5.0


class Guard:
    """Watches one context from its making to its close. The proxy holds without it: this is a second line."""

    def __init__(self, context: BrowserContext) -> None:
        self._ending: set[asyncio.Task[None]] = set()
        context.on("page", self._watch)
        for page in context.pages:
            self._watch(page)

    def _watch(self, page: Page) -> None:
        page.on("framenavigated", self._navigated)
        self._navigated(page.main_frame)

    def _navigated(self, frame: Frame) -> None:
        if shown(frame.url, is_page=frame.parent_frame is None):
            return
        task = asyncio.get_running_loop().create_task(_end(frame))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def shown(url: str, *, is_page: bool) -> bool:
    """Whether a page, or a frame in one, may show this URL."""
    scheme = scheme_of(url)
    if not url or scheme_allowed(url) or scheme == OF_AN_ERROR:
        return True
    if is_page:
        # A page may open in a tab of its own what it made: `blob:https://…`.
        return scheme == "blob" and scheme_allowed(url[len("blob:") :])
    return scheme in OF_A_PAGE or scheme == OF_A_VIEWER


async def _end(frame: Frame) -> None:
    # Never by closing the page, which can hang for ever.
    try:
        async with asyncio.timeout(END_LIMIT_S):
            await frame.goto("about:blank")
    except (TimeoutError, Error):
        # It is being closed, or goes elsewhere already: then it is looked at again.
        return

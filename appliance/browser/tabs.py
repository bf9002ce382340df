"""The tabs of a browser task, and what happens in them without being asked: dialogs, downloads, crashes, responses."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import BrowserContext, Dialog, Download, Error, Page, Response

from appliance.browser.errors import StepFailed

DIALOGS_KEPT: Final = 100
RESPONSES_KEPT: Final = 1000
# Each takes about 45 MB.
TABS_LIMIT: Final = 20
# A tab that is told to close does so at once, or, on some pages, never (playwright#42068).
CLOSE_LIMIT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What dialogs are answered."""

    accept: bool = False
    prompt_text: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A response that came at `at_s` of the loop's time."""

    at_s: float
    url: str
    status: int


class Tabs:
    """The open tabs of one context, in the order they were opened; one of them is the current one."""

    def __init__(self, context: BrowserContext, *, with_responses: bool) -> None:
        self.context = context
        self.pages: list[Page] = list(context.pages)
        self.answer = Answer()
        self.dialogs: deque[dict[str, str]] = deque(maxlen=DIALOGS_KEPT)
        """Those that opened, the newest last, each `{type, message}`."""
        self.responses: deque[Seen] = deque(maxlen=RESPONSES_KEPT)
        self.wanted_download: asyncio.Future[Download] | None = None
        """Gets the next download, where a step waits for one; any other is cancelled."""
        self.changed = asyncio.Event()
        """Set where tabs or responses came or went."""
        self.closed = asyncio.Event()
        """Set where the context is gone, and with it perhaps the browser."""
        self.crashed: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._current: Page | None = self.pages[-1] if self.pages else None
        self._chores: set[asyncio.Task[None]] = set()
        self._listeners: list[tuple[str, Any]] = [
            ("page", self._opened),
            ("dialog", self._dialog),
            ("close", self._closed),
        ]
        self._of_page: list[tuple[str, Any]] = [
            ("close", self._gone),
            ("crash", self._crash),
            ("download", self._download),
        ]
        if with_responses:
            # The driver sends them only where somebody listens: most tasks need not pay for it.
            self._listeners.append(("response", self._response))
        for event, listener in self._listeners:
            context.on(event, listener)  # type: ignore[call-overload]
        for page in self.pages:
            self._watch(page)

    def close(self) -> None:
        """Listen no more."""
        for event, listener in self._listeners:
            self.context.remove_listener(event, listener)
        for page in self.pages:
            for event, listener in self._of_page:
                page.remove_listener(event, listener)
        for chore in self._chores:
            chore.cancel()
        if not self.crashed.done():
            self.crashed.cancel()

    @property
    def current(self) -> Page:
        """The tab that steps act on; `StepFailed` where none is open."""
        if self._current is None:
            raise StepFailed("no tab is open", hint="open one with new_tab")
        return self._current

    def switch(self, page: Page) -> None:
        """Make it the current one."""
        self._current = page

    async def open(self) -> Page:
        """A new tab, the current one from now on."""
        if len(self.pages) >= TABS_LIMIT:
            raise StepFailed(f"{len(self.pages)} tabs are open, which is as many as there may be")
        page = await self.context.new_page()
        self._add(page)
        self._current = page
        return page

    async def shut(self, page: Page) -> None:
        """Close a tab by ending what owns it, never by `page.close()`, which can hang for ever."""
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        page.once("close", lambda _: None if closed.done() else closed.set_result(None))
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                session = await self.context.new_cdp_session(page)
                target = (await session.send("Target.getTargetInfo"))["targetInfo"]["targetId"]
                await session.send("Target.closeTarget", {"targetId": target})
                await closed
        # One that does not go is left to its context, which ends with the task.
        self._gone(page)

    def _closed(self, _: BrowserContext) -> None:
        self.closed.set()

    def _add(self, page: Page) -> None:
        if page not in self.pages:
            self.pages.append(page)
            self._watch(page)
        self.changed.set()

    def _watch(self, page: Page) -> None:
        for event, listener in self._of_page:
            page.on(event, listener)  # type: ignore[call-overload]

    def _opened(self, page: Page) -> None:
        if len(self.pages) >= TABS_LIMIT and page not in self.pages:
            self._do(self.shut(page))
            return
        self._add(page)

    def _gone(self, page: Page) -> None:
        if page not in self.pages:
            return
        at = self.pages.index(page)
        self.pages.remove(page)
        if page is self._current:
            self._current = self.pages[max(at - 1, 0)] if self.pages else None
        self.changed.set()

    def _crash(self, page: Page) -> None:
        if not self.crashed.done():
            self.crashed.set_result(page)

    def _response(self, response: Response) -> None:
        self.responses.append(Seen(asyncio.get_running_loop().time(), response.url, response.status))
        self.changed.set()

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append({"type": dialog.type, "message": dialog.message[:1000]})
        self._do(self._reply(dialog))

    async def _reply(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            # Whoever leaves a page means to leave it.
            await dialog.accept()
        elif self.answer.accept:
            text = self.answer.prompt_text
            await dialog.accept(dialog.default_value if text is None else text)
        else:
            await dialog.dismiss()

    def _download(self, download: Download) -> None:
        if self.wanted_download is not None and not self.wanted_download.done():
            self.wanted_download.set_result(download)
        else:
            self._do(download.cancel())

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            # Its page may be gone by then.
            with suppress(Error):
                await chore

        task = asyncio.get_running_loop().create_task(quietly())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

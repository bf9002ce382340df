"""Starts the browser that a runner has."""

import asyncio
import os
import re
from typing import Final

from playwright.async_api import Browser, Error, Playwright

from appliance.browser import chromium, wire
from appliance.browser.errors import BrowserUnable
from cloudsync.spec import ErrorBody

LIMIT_S: Final = 30.0
# Chromium ends at once where the path of a socket is too long (unix(7): 107 bytes); in its temporary folder it makes
# one that is called `/org.chromium.Chromium.XXXXXX/SingletonSocket`.
TEMPORARY_BYTES: Final = 60
# What the program itself said before it ended, in the log that Playwright adds to its error.
_LAST_WORDS: Final = re.compile(r"\[err\].*?:FATAL:\S+ *(.+)")
_HINT: Final = f"Run the program by hand to see what it says. {chromium.HINT}"


async def launch(playwright: Playwright, named: str | None) -> tuple[Browser, wire.Browser]:
    """The browser, and what is told of it; `BrowserUnable` where there is none that starts."""
    program = chromium.find(named)
    if program is None:
        message = f"there is no {named or 'Chromium'} on this box"
        raise BrowserUnable(ErrorBody(code="no_browser", message=message, hint=chromium.HINT))
    name = program.path or "Playwright's Chromium"
    try:
        async with asyncio.timeout(LIMIT_S):
            browser = await playwright.chromium.launch(
                executable_path=program.path,
                args=chromium.arguments(),
                chromium_sandbox=chromium.has_sandbox(),
                env=_environment(),
                timeout=LIMIT_S * 1000,
            )
    except (Error, TimeoutError) as error:
        message = f"{name} does not start: {_why(str(error))}"
        raise BrowserUnable(ErrorBody(code="browser_failed", message=message, hint=_HINT)) from error
    told = wire.Browser(program=name, version=browser.version, has_sandbox=chromium.has_sandbox())
    return browser, told


def _environment() -> dict[str, str | float | bool]:
    """The browser's environment: this process's, but for a temporary folder with too long a path.

    Such a folder is held open as long as this process lives, and the browser reaches it through that.
    """
    folder = os.environ.get("TMPDIR", "")
    if len(os.fsencode(folder)) <= TEMPORARY_BYTES:
        return {**os.environ}
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    return {**os.environ, "TMPDIR": f"/proc/{os.getpid()}/fd/{held}"}


def _why(said: str) -> str:
    words = _LAST_WORDS.search(said)
    first, *_ = said.strip().splitlines() or ["it does not answer"]
    return first if words is None else words[1].strip()

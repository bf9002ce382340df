"""Starts the browser that a runner has."""

import asyncio
from typing import Final

from playwright.async_api import Browser, Error, Playwright

from appliance.browser import chromium, wire
from appliance.browser.errors import BrowserUnable
from cloudsync.spec import ErrorBody

LIMIT_S: Final = 30.0
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
                timeout=LIMIT_S * 1000,
            )
    except (Error, TimeoutError) as error:
        first, *_ = str(error).strip().splitlines() or ["it does not answer"]
        message = f"{name} does not start: {first}"
        raise BrowserUnable(ErrorBody(code="browser_failed", message=message, hint=_HINT)) from error
    told = wire.Browser(program=name, version=browser.version, has_sandbox=chromium.has_sandbox())
    return browser, told

"""Starting a browser, or saying why there is none."""

import os
import shutil

import pytest
from playwright.async_api import async_playwright

from appliance.browser.errors import BrowserUnable
from appliance.browser.launch import launch


async def test_the_browser_that_is_here_starts_and_is_told_of() -> None:
    async with async_playwright() as playwright:
        browser, told = await launch(playwright, None)
        assert told.version == browser.version
        assert told.has_sandbox == (os.geteuid() != 0)
        assert os.access(told.program, os.X_OK)
        await browser.close()


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such/chromium", "no_browser"), (shutil.which("false") or "", "browser_failed")]
)
async def test_one_that_is_not_there_or_does_not_start_is_named_with_what_to_do(program: str, code: str) -> None:
    async with async_playwright() as playwright:
        with pytest.raises(BrowserUnable) as caught:
            await launch(playwright, program)
    assert caught.value.error.code == code
    assert program in caught.value.error.message
    assert "apt-get install chromium-headless-shell" in caught.value.error.hint

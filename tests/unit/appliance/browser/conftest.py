"""One browser for all tests of the steps, and for each a context, a folder and a server's pages of its own."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from appliance.browser.flags import DRIVER_ENVIRONMENT
from tests.unit.appliance.browser.stage import Pages, Stage, browser_path


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A real browser; it is gone before tests of other folders run."""
    os.environ.update(DRIVER_ENVIRONMENT)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A server of pages."""
    pages = Pages()
    yield pages
    pages.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(chromium: Browser, pages: Pages, tmp_path: Path) -> AsyncIterator[Stage]:
    """A context to perform in."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 720})
    await context.new_page()
    yield Stage(context, pages, tmp_path)
    await context.close()

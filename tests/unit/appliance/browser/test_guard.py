"""What is ended where a context shows it."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.async_api import Error, async_playwright

from appliance.browser.guard import Guard, shown


@pytest.mark.parametrize(
    ("url", "in_page", "in_frame"),
    [
        ("https://x/", True, True),
        ("about:blank", True, True),
        ("", True, True),
        ("chrome-error://chromewebdata/", True, True),
        ("blob:https://x/1", True, True),
        ("blob:null/1", False, True),
        ("blob:file:///1", False, True),
        ("about:srcdoc", False, True),
        ("data:text/html,x", False, True),
        ("chrome-extension://x/", False, True),
        ("file:///etc/passwd", False, False),
        ("chrome://version/", False, False),
        ("devtools://x/", False, False),
        ("view-source:http://x", False, False),
        ("filesystem:http://x/1", False, False),
    ],
)
def test_a_page_shows_the_web_and_a_frame_also_what_its_page_made(url: str, in_page: bool, in_frame: bool) -> None:
    assert shown(url, is_page=True) is in_page
    assert shown(url, is_page=False) is in_frame


async def test_a_page_that_shows_a_file_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("inside")
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            context = await browser.new_context()
            before = await context.new_page()
            Guard(context)
            after = await context.new_page()
            for page in (before, after):
                async with page.expect_event(
                    "framenavigated", lambda frame: frame.url == "about:blank", timeout=10_000
                ):
                    # It may be ended before it is there.
                    with suppress(Error):
                        await page.goto(f"file://{tmp_path}/a.html")
                assert page.url == "about:blank"
        finally:
            await browser.close()

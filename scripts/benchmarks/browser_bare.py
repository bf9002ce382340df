"""A process with bare Playwright: the floor of a browser task, navigation and PNG in a context made ahead.

Its argument is the page's address. A request ``{"window_s"}`` is answered ``{"samples_ms"}``. The browser is the one
that a box would use, as Playwright starts it; making and closing contexts is outside what is measured.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from playwright.async_api import Browser, BrowserContext, async_playwright

from appliance.browser import chromium
from scripts.benchmarks.browser_box import PAUSE_S


async def _fresh(browser: Browser) -> BrowserContext:
    context = await browser.new_context(viewport={"width": 1280, "height": 720})
    await context.new_page()
    return context


async def _window(browser: Browser, url: str, folder: Path, window_s: float) -> list[float]:
    samples: list[float] = []
    began = perf_counter()
    while perf_counter() - began < window_s:
        context = await _fresh(browser)
        await asyncio.sleep(PAUSE_S)
        (page,) = context.pages
        asked = perf_counter()
        await page.goto(url)
        await page.screenshot(path=folder / "shot.png")
        samples.append((perf_counter() - asked) * 1000)
        await context.close()
    return samples


async def _main(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with async_playwright() as playwright:
            program = chromium.find(None)
            browser = await playwright.chromium.launch(
                executable_path=None if program is None else program.path, chromium_sandbox=chromium.has_sandbox()
            )
            while line := await asyncio.to_thread(sys.stdin.readline):
                window_s = float(json.loads(line)["window_s"])
                print(json.dumps({"samples_ms": await _window(browser, url, Path(folder), window_s)}), flush=True)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))

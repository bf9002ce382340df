"""Playwright's trace viewer, served by the hub."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from tests.unit.hub.http import Http
from tests.unit.hub.running import RunningHub, make

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
# Where a picture of the viewer goes, for somebody who wants to see it.
SHOT = os.environ.get("OPERIS_TEST_SHOT", "")


async def test_the_viewer_and_its_parts_are_served_and_load_nothing_from_elsewhere(hub: RunningHub) -> None:
    client = hub.http(None)
    page = await client.get("/trace-viewer/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.body == (await client.get("/trace-viewer/index.html")).body
    linked = re.findall(r'(?:src|href)="\./?([^"]+)"', page.body.decode())
    assert any(name.endswith(".js") for name in linked)
    for name in (*linked, "sw.bundle.js", "snapshot.html"):
        answer = await client.get(f"/trace-viewer/{name}")
        assert answer.status == 200, name
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["../index.html", "..%2f..%2fpackage.json", "%2e%2e/%2e%2e/package.json", "/etc/passwd", "nothing", "assets"],
)
async def test_nothing_else_is_served(hub: RunningHub, path: str) -> None:
    answer = await hub.http(None).get(f"/trace-viewer/{path}")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert (await hub.http(None).post("/trace-viewer/")).status == 405


async def test_a_real_trace_opens_in_it_and_reaches_nothing_but_the_hub(hub: RunningHub, http: Http) -> None:
    await hub.box()
    task_id = await make(http, "box-1")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            trace = await recorded(browser)
            found = await hub.artifact(task_id, trace, "trace.zip", media_type="application/zip")
            made = (await http.post(f"/api/v1/artifacts/{found['id']}/link", {})).json()
            page = await browser.new_page()
            asked: list[str] = []
            wrong: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            base = "http://{}:{}".format(*hub.web)
            await page.goto(base + made["url"])
            await page.get_by_text("Click").first.click(timeout=20_000)
            await page.get_by_role("tab", name="After").click()
            snapshot = page.frame_locator("iframe.snapshot-visible")
            await snapshot.get_by_text("Pressed once").wait_for(timeout=20_000)
            assert await snapshot.locator("body").evaluate("window.stolen") is None
            if SHOT:
                await page.screenshot(path=SHOT)
            assert [url for url in asked if not url.startswith((base, "data:", "blob:"))] == []
            assert wrong == []
        finally:
            await browser.close()


async def recorded(browser: Browser) -> bytes:
    """A trace of a page that was used, and that would steal what it can."""
    context = await browser.new_context()
    await context.tracing.start(screenshots=True, snapshots=True)
    page = await context.new_page()
    await page.set_content(
        """<title>The page</title><button onclick="this.textContent = 'Pressed once'">Press</button>
        <script>window.stolen = 'here'</script><img src=x onerror="window.stolen = 'error'">"""
    )
    await page.click("button")
    with tempfile.TemporaryDirectory() as folder:
        await context.tracing.stop(path=Path(folder, "trace.zip"))
        await context.close()
        return Path(folder, "trace.zip").read_bytes()

"""The page at /: read-only, without data of its own, without what is not ours."""

import re

from playwright.async_api import async_playwright

from hub.page import FILES
from tests.unit.hub.running import RunningHub
from tests.unit.hub.test_viewer import CHROMIUM


async def test_page_and_its_parts_are_served_locked_down(hub: RunningHub) -> None:
    await hub.box("secret-box")
    client = hub.http(None)
    for path, (_, media_type) in FILES.items():
        answer = await client.get(path)
        assert (path, answer.status, answer.headers["content-type"]) == (path, 200, media_type)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"secret-box" not in answer.body
        assert (await client.post(path)).status == 405


async def test_page_takes_nothing_from_elsewhere_and_writes_no_html(hub: RunningHub) -> None:
    client = hub.http(None)
    page = (await client.get("/")).body.decode()
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert set(linked) <= {path for path in FILES if path != "/"} | {"/", "#"}, linked
    script = (await client.get("/page.js")).body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert "http://" not in script
    assert "https://" not in script
    assert not re.search(r"method:\s*[\"'](?:POST|PUT|DELETE)", script)


async def test_the_key_outlives_a_reload_and_no_other_page_of_the_hub_can_read_it(hub: RunningHub) -> None:
    key = await hub.key(role="viewer")
    base = "http://{}:{}".format(*hub.web)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = await browser.new_page()
            await page.goto(f"{base}/#key={key}")
            await page.locator("#fleet").wait_for(timeout=20_000)
            assert key not in page.url
            await page.wait_for_function("history.state !== null")
            await page.reload()
            await page.locator("#fleet").wait_for(timeout=20_000)
            await page.goto(f"{base}/trace-viewer/")
            found = await page.evaluate("JSON.stringify([history.state, {...sessionStorage}, {...localStorage}])")
            assert key not in found
            assert await page.evaluate("document.cookie") == ""
        finally:
            await browser.close()

"""Playwright's trace viewer, served by the hub."""

import re

import pytest

from tests.unit.hub.running import RunningHub


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

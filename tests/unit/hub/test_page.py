"""The page at /: read-only, without data of its own, without what is not ours."""

import re

from hub.page import FILES
from tests.unit.hub.running import RunningHub


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

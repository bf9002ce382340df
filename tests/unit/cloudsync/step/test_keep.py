"""Fields of steps that keep something."""

from typing import Any

import pytest

from cloudsync.step.keep import DOWNLOAD_LIMIT_MIB, Download, GetCookies, Pdf, SaveProfile, Screenshot, SetCookies
from tests.unit.cloudsync.step.judge import refused, taken


def test_each_takes_what_playwright_takes() -> None:
    assert taken(Screenshot, {"action": "screenshot", "type": "webp", "quality": 5, "mask": ["a"]}).mask == ("a",)
    assert taken(Pdf, {"action": "pdf", "margin": {"top": "1cm"}}).format == "A4"
    assert taken(Download, {"action": "download", "url": "x"}).max_mib == DOWNLOAD_LIMIT_MIB
    assert taken(GetCookies, {"action": "get_cookies"}).urls == ()
    cookie = {"name": "a", "value": "", "domain": "x", "httpOnly": True, "sameSite": "Lax", "expires": 5}
    assert taken(SetCookies, {"action": "set_cookies", "cookies": [cookie]}).cookies[0].sameSite == "Lax"
    assert taken(SaveProfile, {"action": "save_profile"}).name is None


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"action": "screenshot", "quality": 5}, "quality is for jpeg and webp"),
        ({"action": "screenshot", "type": "jpeg", "omit_background": True}, "omit_background is not for jpeg"),
        ({"action": "screenshot", "full_page": True, "selector": "a"}, "takes only one of full_page, selector, clip"),
        ({"action": "screenshot", "type": "gif"}, "type: Input should be 'png', 'jpeg' or 'webp'"),
        ({"action": "pdf", "format": "B5"}, "format: Input should be 'A0'"),
        ({"action": "pdf", "scale": 3}, "scale: Input should be less than or equal to 2"),
        ({"action": "download"}, "takes exactly one of selector, url"),
        ({"action": "download", "selector": "a", "url": "b"}, "takes exactly one of selector, url"),
        ({"action": "download", "url": "b", "max_mib": 2049}, "max_mib: Input should be less than or equal to 2048"),
        ({"action": "set_cookies", "cookies": []}, "cookies: takes at least 1 item"),
        ({"action": "set_cookies", "cookies": [{"name": "a", "value": "b"}]},
         "cookies.0: takes exactly one of url, domain"),
        ({"action": "set_cookies", "cookies": [{"name": "a", "value": "b", "url": "u", "path": "/"}]},
         "cookies.0: path goes with domain"),
        ({"action": "set_cookies", "cookies": [{"name": "a", "value": "b", "url": "u", "httponly": True}]},
         "cookies.0.httponly: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said(step: dict[str, Any], said: str) -> None:
    assert refused(step).startswith(f"step 1 ({step['action']}): {said}")


def test_profile_is_saved_only_where_the_task_names_one() -> None:
    said = refused({"action": "title"}, {"action": "save_profile"})
    assert "step 2 (save_profile): the task names no profile" in said

"""Checking what a page shows."""

from typing import Any

import pytest

from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = (
    "<title>Shop 1</title><h1>Hello   there\n you</h1><input id=i value=v><ul><li>a<li>b</ul>"
    "<p id=h hidden>hidden</p><script>setTimeout(() => { h.hidden = false; i.value = 'w' }, 150)</script>"
)

HOLDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"selector": "h1", "text": "there you"}, {"text": "Hello there you"}),
    ({"selector": "h1", "text": "Hello there you", "exact": True}, {"text": "Hello there you"}),
    ({"selector": "h1", "text": {"regex": "^hello", "ignore_case": True}}, {"text": "Hello there you"}),
    ({"selector": "#i", "value": "w"}, {"value": "w"}),
    ({"selector": "li", "count": 2}, {"count": 2}),
    ({"selector": ".none", "count": 0}, {"count": 0}),
    ({"selector": "#h", "visible": True}, {"visible": True}),
    ({"selector": "h1", "hidden": False}, {"hidden": False}),
    ({"selector": ".none", "hidden": True}, {"hidden": True}),
    ({"selector": ".none", "visible": False}, {"visible": False}),
    ({"title": "Shop 1"}, {"title": "Shop 1"}),
    ({"title": {"regex": "Shop \\d"}, "selector": "h1", "visible": True}, {"title": "Shop 1", "visible": True}),
]


@pytest.mark.parametrize(("wanted", "seen"), HOLDS)
async def test_what_holds_or_soon_does_is_said(stage: Stage, wanted: dict[str, Any], seen: dict[str, Any]) -> None:
    assert await stage.on(PAGE, {"action": "expect", **wanted}) == seen


async def test_address_and_text_of_the_page_are_checked(stage: Stage) -> None:
    url = f"{stage.pages.url}/page"
    assert await stage.on(PAGE, {"action": "expect", "url": url}) == {"url": url}
    assert await stage.on(PAGE, {"action": "expect", "url": "**/p*e"}) == {"url": url}
    assert list(await stage.on(PAGE, {"action": "expect", "text": "Hello there"})) == ["text"]


FAILS: list[tuple[dict[str, Any], str]] = [
    ({"selector": "h1", "text": "Bye"}, "expected text of 'h1' 'Bye', saw 'Hello there you'"),
    ({"selector": "h1", "text": "Hello", "exact": True}, "expected text of 'h1' 'Hello', saw 'Hello there you'"),
    ({"selector": "h2", "text": "Bye"}, "expected text of 'h2' 'Bye', saw nothing that matches"),
    ({"selector": "li", "text": "a"}, "expected text of 'li' 'a', saw 2 elements that match, where one is wanted"),
    ({"selector": "#i", "value": "x"}, "expected value of '#i' 'x', saw 'w'"),
    ({"selector": "h1", "value": "x"}, "expected value of 'h1' 'x', saw an element that has no value"),
    ({"selector": "li", "count": 3}, "expected count of 'li' 3, saw 2"),
    ({"selector": "#none", "visible": True}, "expected visible of '#none' true, saw nothing that matches"),
    ({"selector": "h1", "hidden": True}, "expected hidden of 'h1' true, saw it"),
    ({"url": "**/other"}, "expected url '**/other', saw 'http://127.0.0.1:"),
    ({"title": "Shop"}, "expected title 'Shop', saw 'Shop 1'"),
    ({"title": {"regex": "x"}, "selector": "li", "count": 1}, "expected title /x/, saw 'Shop 1'; expected count of"),
]


@pytest.mark.parametrize(("wanted", "said"), FAILS)
async def test_what_does_not_hold_fails_with_what_was_seen(stage: Stage, wanted: dict[str, Any], said: str) -> None:
    assert said in await stage.fails(PAGE, {"action": "expect", "timeout_s": 0.5, **wanted})


async def test_selector_that_is_wrong_fails_at_once(stage: Stage) -> None:
    outcome_said = await stage.fails(PAGE, {"action": "expect", "selector": "p[", "visible": True, "timeout_s": 20})
    assert "p[" in outcome_said
    assert stage.told[-1][1].duration_ms < 5000


async def test_page_that_goes_elsewhere_meanwhile_is_checked_there(stage: Stage) -> None:
    stage.pages.at["/next"] = "<h1>arrived</h1>"
    html = "<script>setTimeout(() => { location.href = '/next' }, 50)</script>"
    assert await stage.on(html, {"action": "expect", "selector": "h1", "text": "arrived"}) == {"text": "arrived"}

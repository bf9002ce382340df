"""Contexts of a real browser: made ahead, made for a task, closed, and each behind a proxy of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright

from appliance.browser.contexts import Contexts
from appliance.browser.errors import ContextRefused
from appliance.browser.launch import launch
from cloudsync.spec import BrowserRun
from tests.unit.appliance.browser.stage import Pages


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started() -> AsyncIterator[tuple[Playwright, Browser]]:
    """A browser as a runner has it."""
    async with async_playwright() as playwright:
        browser, _ = await launch(playwright, None)
        yield playwright, browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def contexts(started: tuple[Playwright, Browser]) -> AsyncIterator[Contexts]:
    """Two of them ahead, once they are made."""
    contexts = Contexts(*started, ahead=2)
    yield contexts
    while contexts._ready:
        await contexts.close(await contexts.take(spec(), None, {}))


def spec(**fields: Any) -> BrowserRun:
    return BrowserRun.model_validate({"kind": "browser.run", "steps": [{"action": "title"}]} | fields)


@pytest.mark.asyncio(loop_scope="session")
async def test_as_many_are_made_ahead_as_were_asked_for_and_taken_first(contexts: Contexts) -> None:
    assert await contexts.make_one_ahead()
    assert not await contexts.make_one_ahead()
    assert len(contexts._ready) == 2
    taken = [await contexts.take(spec(), None, {}) for _ in range(3)]
    assert len(contexts._ready) == 0
    assert len({id(fresh.context) for fresh in taken}) == len({fresh.proxy.server for fresh in taken}) == 3
    assert [[page.url for page in fresh.context.pages] for fresh in taken] == [["about:blank"]] * 3
    for fresh in taken:
        await contexts.close(fresh)


@pytest.mark.asyncio(loop_scope="session")
async def test_one_that_was_made_ahead_may_reach_what_its_task_is_granted_and_no_more(
    contexts: Contexts, pages: Pages
) -> None:
    pages.at["/"] = "<title>Home</title>"
    await contexts.make_one_ahead()
    granted = await contexts.take(spec(allow=["127.0.0.1"]), None, {})
    await granted.context.pages[0].goto(f"{pages.url}/")
    assert await granted.context.pages[0].title() == "Home"
    refused = await contexts.take(spec(), None, {})
    await refused.context.pages[0].goto(f"{pages.url}/")
    assert await refused.context.pages[0].title() != "Home"
    assert len(pages.asked) == 1
    assert "not public" in (refused.proxy.explain(f"{pages.url}/") or "")
    for fresh in (granted, refused):
        await contexts.close(fresh)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_task_with_wishes_gets_one_made_for_it_and_leaves_those_ahead(contexts: Contexts) -> None:
    await contexts.make_one_ahead()
    fresh = await contexts.take(
        spec(user_agent="{{secret:agent}}", viewport={"width": 500, "height": 400}), None, {"agent": "ours"}
    )
    assert len(contexts._ready) == 1
    look = "() => [navigator.userAgent, innerWidth, innerHeight]"
    assert await fresh.context.pages[0].evaluate(look) == ["ours", 500, 400]
    await contexts.close(fresh)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"device": "Nokia 3310"}, "context_refused", "Nokia 3310"),
        ({"timezone": "Mars/Olympus"}, "context_refused", "Mars/Olympus"),
        ({"proxy": {"server": "ftp://proxy:1"}}, "context_refused", "proxy"),
        (
            {"proxy": {"server": "{{secret:empty}}"}},
            "context_refused",
            "proxy does not take what was filled in: server",
        ),
        ({"user_agent": "{{secret:absent}}"}, "unknown_secret", "the box has no secret absent"),
        ({"http_credentials": {"username": "u", "password": "{{secret:absent}}"}}, "unknown_secret", "absent"),
        ({"proxy": {"server": "http://p:1", "password": "{{secret:absent}}"}}, "unknown_secret", "absent"),
        ({"steps": [{"action": "goto", "url": "https://{{secret:absent}}"}]}, "unknown_secret", "absent"),
    ],
)
async def test_what_there_is_not_is_refused_by_name(
    contexts: Contexts, fields: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(ContextRefused) as caught:
        await contexts.take(spec(**fields), None, {"empty": ""})
    assert caught.value.error.code == code
    assert said in caught.value.error.message
    assert caught.value.error.hint


@pytest.mark.asyncio(loop_scope="session")
async def test_a_state_is_there_from_the_start_and_one_that_is_closed_is_gone(
    contexts: Contexts, pages: Pages, tmp_path: Path
) -> None:
    pages.at["/"] = "<title>Home</title>"
    first = await contexts.take(spec(allow=["127.0.0.1"]), None, {})
    await first.context.pages[0].goto(f"{pages.url}/")
    await first.context.pages[0].evaluate("() => { localStorage.who = 'ann' }")
    await first.context.storage_state(path=tmp_path / "state.json", indexed_db=True)
    await contexts.close(first)
    await contexts.close(first)
    second = await contexts.take(spec(allow=["127.0.0.1"]), str(tmp_path / "state.json"), {})
    await second.context.pages[0].goto(f"{pages.url}/")
    assert await second.context.pages[0].evaluate("() => localStorage.who") == "ann"
    await contexts.close(second)


@pytest.mark.asyncio(loop_scope="session")
async def test_one_whose_page_has_crashed_meanwhile_is_given_to_nobody(contexts: Contexts) -> None:
    await contexts.make_one_ahead()
    (spoiled,) = contexts._ready
    (page,) = spoiled.context.pages
    session = await spoiled.context.new_cdp_session(page)
    crash = asyncio.create_task(session.send("Page.crash"))
    await asyncio.wait_for(spoiled.crashed.wait(), 10)
    crash.cancel()
    await asyncio.gather(crash, return_exceptions=True)
    fresh = await contexts.take(spec(), None, {})
    assert fresh is not spoiled
    assert await fresh.context.pages[0].evaluate("() => 1") == 1
    await contexts.close(fresh)

"""What happens in tabs without being asked."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from appliance.browser.errors import StepFailed
from appliance.browser.tabs import DIALOGS_KEPT, Answer, Tabs
from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(stage: Stage) -> AsyncIterator[Tabs]:
    """The tabs of a context with one page."""
    tabs = Tabs(stage.context, with_responses=True)
    yield tabs
    tabs.close()


async def until_changed(tabs: Tabs, count: int) -> list[Page]:
    """The tabs, once there are so many."""
    while len(tabs.pages) != count:
        tabs.changed.clear()
        async with asyncio.timeout(10):
            await tabs.changed.wait()
    return tabs.pages


async def test_tab_that_a_page_opens_is_there_and_is_not_the_current_one(tabs: Tabs) -> None:
    first = tabs.current
    await first.evaluate("() => { open('about:blank') }")
    _, popup = await until_changed(tabs, 2)
    assert tabs.current is first
    tabs.switch(popup)
    await popup.evaluate("() => { close() }")
    await until_changed(tabs, 1)
    assert tabs.current is first


async def test_tab_that_is_shut_is_gone_and_the_one_before_is_current(tabs: Tabs) -> None:
    first = tabs.current
    second = await tabs.open()
    assert tabs.current is second
    await tabs.shut(second)
    assert second.is_closed()
    assert (tabs.current, tabs.pages) == (first, [first])
    await tabs.shut(first)
    with pytest.raises(StepFailed, match="no tab is open"):
        _ = tabs.current


async def test_dialogs_are_answered_and_the_newest_are_kept(tabs: Tabs) -> None:
    assert await tabs.current.evaluate("() => confirm('a')") is False
    tabs.answer = Answer(accept=True)
    assert await tabs.current.evaluate("() => confirm('b'.repeat(5000))") is True
    assert [(dialog["type"], len(dialog["message"])) for dialog in tabs.dialogs] == [("confirm", 1), ("confirm", 1000)]
    await tabs.current.evaluate(f"() => {{ for (let i = 0; i < {DIALOGS_KEPT + 5}; i++) alert(i) }}")
    assert len(tabs.dialogs) == DIALOGS_KEPT


async def test_responses_are_seen_with_their_status(stage: Stage, tabs: Tabs) -> None:
    await tabs.current.goto(f"{stage.pages.url}/none")
    while not tabs.responses:
        tabs.changed.clear()
        await tabs.changed.wait()
    assert (tabs.responses[0].url, tabs.responses[0].status) == (f"{stage.pages.url}/none", 404)


async def test_nothing_is_heard_any_more_after_the_end(stage: Stage) -> None:
    tabs = Tabs(stage.context, with_responses=True)
    tabs.close()
    await stage.context.new_page()
    await stage.context.pages[0].goto(f"{stage.pages.url}/none")
    # Without a listener Playwright dismisses dialogs itself.
    assert await stage.context.pages[0].evaluate("() => confirm('a')") is False
    assert (len(tabs.pages), list(tabs.dialogs), list(tabs.responses)) == (1, [], [])

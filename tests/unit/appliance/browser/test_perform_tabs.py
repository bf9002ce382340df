"""Tabs: opening, switching, closing."""

import pytest

from appliance.browser.tabs import TABS_LIMIT
from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

POPUP = "<title>main</title><a href=/pop target=_blank>pop</a>"
TITLE = {"action": "title"}


async def test_tabs_are_opened_switched_and_closed(stage: Stage) -> None:
    stage.pages.at |= {"/page": POPUP, "/pop": "<title>pop</title>", "/third": "<title>third</title>"}
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "click", "selector": "a"},
        {"action": "switch_tab", "index": 1},
        {"action": "new_tab", "url": "@/third"},
        TITLE,
        {"action": "switch_tab", "url": "**/pop"},
        TITLE,
        {"action": "switch_tab", "title": {"regex": "^th"}},
        {"action": "close_tab"},
        TITLE,
        {"action": "close_tab", "index": 0},
        TITLE,
        {"action": "new_tab"},
        {"action": "url"},
    )
    pop = {"index": 1, "url": f"{stage.pages.url}/pop", "title": "pop"}
    assert values[3:8] == [2, "third", pop, "pop", {"index": 2, "url": f"{stage.pages.url}/third", "title": "third"}]
    assert (values[9], values[11], values[12], values[13]) == ("pop", "pop", 1, "about:blank")
    assert values[2]["index"] == 1


async def test_switch_waits_for_a_tab_to_open_and_says_which_are(stage: Stage) -> None:
    stage.pages.at["/pop"] = "<title>pop</title>"
    later = "<script>setTimeout(() => open('/pop'), 300)</script>"
    assert (await stage.on(later, {"action": "switch_tab", "title": "pop"}))["title"] == "pop"
    for wanted, said in (
        ({"index": 7}, "there is no tab 7"),
        ({"url": "**/x"}, "no tab has the address '**/x'"),
        ({"title": "x"}, "no tab has the title 'x'"),
    ):
        message = await stage.fails("<p>", {"action": "switch_tab", "timeout_s": 0.4, **wanted})
        assert f"{said}: 2 are open: 0 " in message
    assert "there is no tab 9" in await stage.fails("<p>", {"action": "close_tab", "index": 9})


async def test_last_tab_cannot_be_closed(stage: Stage) -> None:
    assert "the last tab cannot be closed" in await stage.fails("<p>", {"action": "close_tab"})


async def test_tab_that_closes_itself_gives_way_to_the_one_before(stage: Stage) -> None:
    stage.pages.at["/pop"] = "<button onclick='close()'>x</button>"
    value = await stage.on(
        POPUP.replace("<a", "<a rel=opener"),
        {"action": "click", "selector": "a"},
        {"action": "switch_tab", "index": 1},
        {"action": "click", "selector": "button"},
        {"action": "switch_tab", "title": "main"},
        TITLE,
    )
    assert value == "main"


@pytest.mark.parametrize("_", range(5))
async def test_tab_on_a_page_that_reloads_itself_is_closed(stage: Stage, _: int) -> None:
    stage.pages.at["/restless"] = "<meta http-equiv=refresh content=0><p>again</p>"
    value = await stage.on(
        "<title>main</title>",
        {"action": "new_tab", "url": "@/restless", "wait_until": "commit"},
        {"action": "close_tab", "timeout_s": 5},
        TITLE,
    )
    assert value == "main"


async def test_page_that_opens_tabs_without_end_gets_no_more_than_there_may_be(stage: Stage) -> None:
    html = "<script>for (let i = 0; i < 30; i++) open('about:blank')</script>"
    value = await stage.on(html, {"action": "wait_for", "milliseconds": 1000}, {"action": "url"})
    assert value.endswith("/page")
    assert len(stage.context.pages) <= TABS_LIMIT
    assert "as many as there may be" in await stage.fails("<p>", {"action": "new_tab"})

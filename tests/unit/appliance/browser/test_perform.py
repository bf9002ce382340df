"""The steps of a task as a whole: order, results, variables, deadlines, secrets, crashes."""

import asyncio
import base64
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Error

from appliance.browser.allow import AllowPolicy
from appliance.browser.perform import run_steps
from appliance.browser.proxy import FilterProxy
from appliance.browser.values import VALUE_LIMIT_BYTES
from cloudsync.spec import StepResult
from tests.unit.appliance.browser.stage import Pages, Stage, browser_path

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = "<title>Hello</title><h1 id=a>Hello there</h1>"
GOTO = {"action": "goto", "url": "@/"}
FAILS = {"action": "click", "selector": "#none", "timeout_s": 0.3}
TITLE = {"action": "title"}


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """A stage with a page at /."""
    stage.pages.at["/"] = HELLO
    return stage


async def test_steps_run_in_order_and_each_is_told_as_it_ends(stage: Stage) -> None:
    outcome = await stage.perform(
        GOTO, {"action": "text", "selector": "h1", "name": "heading"}, {"action": "screenshot"}
    )
    assert (outcome.state, outcome.error) == ("succeeded", None)
    goto, text, shot = stage.results
    assert goto.value == {"url": f"{stage.pages.url}/", "status": 200}
    assert (text.action, text.name, text.state, text.value) == ("text", "heading", "succeeded", "Hello there")
    assert shot.value == "03-screenshot.png"
    assert [index for index, _ in stage.told] == [0, 1, 2]
    (file,) = outcome.files
    assert (file.name, file.media_type, file.path.read_bytes()[:4]) == ("03-screenshot.png", "image/png", b"\x89PNG")


async def test_first_step_that_fails_ends_the_task_and_the_rest_are_skipped(stage: Stage) -> None:
    outcome = await stage.perform(GOTO, {**FAILS, "name": "the button"}, TITLE)
    assert [result.state for result in stage.results] == ["succeeded", "failed", "skipped"]
    assert [index for index, _ in stage.told] == [0, 1, 2]
    assert outcome.error is not None
    assert outcome.error.code == "step_failed"
    assert outcome.error.message == (
        f"step 2 (click) 'the button': not done within 0.3 s: waiting for locator(\"#none\") (on {stage.pages.url}/)"
    )
    assert stage.results[1].error == outcome.error
    assert outcome.page is stage.context.pages[0]


async def test_step_that_may_fail_does_not_end_the_task(stage: Stage) -> None:
    outcome = await stage.perform(GOTO, {**FAILS, "continue_on_error": True}, TITLE)
    assert (outcome.state, outcome.error) == ("succeeded", None)
    assert [result.state for result in stage.results] == ["succeeded", "failed", "succeeded"]
    assert stage.results[1].error is not None


async def test_context_without_a_page_gets_one(stage: Stage) -> None:
    await stage.context.pages[0].close()
    assert (await stage.values(GOTO, TITLE))[1] == "Hello"


async def test_saved_values_are_filled_in_later(stage: Stage) -> None:
    stage.pages.at["/page"] = "<input id=i><input id=j>"
    values = await stage.values(
        GOTO,
        {"action": "text", "selector": "h1", "save_as": "head"},
        {"action": "evaluate", "expression": "({a: [1, 'ä']})", "save_as": "data"},
        {"action": "goto", "url": "@/page"},
        {"action": "fill", "selector": "#i", "text": "{{head}} {{ data }} \\{{head}}"},
        {"action": "value", "selector": "#i"},
        {"action": "evaluate", "expression": "x => x.length", "arg": ["{{head}}", "{{data}}"]},
    )
    assert values[5] == 'Hello there {"a": [1, "ä"]} {{head}}'
    assert values[6] == 2


async def test_variable_of_a_step_that_failed_has_no_value(stage: Stage) -> None:
    read = {"action": "text", "selector": "#none", "timeout_s": 0.2, "save_as": "x", "continue_on_error": True}
    outcome = await stage.perform(GOTO, read, {"action": "fill", "selector": "h1", "text": "{{x}}"})
    assert outcome.error is not None
    assert "variable 'x' has no value: the step that saves it did not succeed" in outcome.error.message


async def test_field_that_does_not_take_what_was_filled_in_fails_its_step(stage: Stage) -> None:
    empty = {"action": "evaluate", "expression": "''", "save_as": "x"}
    outcome = await stage.perform(GOTO, empty, {"action": "text", "selector": "{{x}}"})
    assert outcome.error is not None
    assert "step 3 (text): does not take what was filled in: selector: must not be empty" in outcome.error.message


SECRET = 'p"ß&w/ör+d 1'
SECRETS = {"pass": SECRET}


async def test_secret_is_used_and_stands_in_nothing_that_is_told(stage: Stage) -> None:
    stage.pages.at["/page"] = "<title></title><input id=i onchange='document.title = this.value'>"
    encode = (
        "s => [s, JSON.stringify(s), encodeURIComponent(s), btoa(unescape(encodeURIComponent('user:' + s))),"
        " {[s]: `before ${s} after`}]"
    )
    outcome = await stage.perform(
        {"action": "goto", "url": "@/page"},
        {"action": "fill", "selector": "#i", "text": "{{secret:pass}}"},
        {"action": "press", "key": "Tab"},
        TITLE,
        {"action": "value", "selector": "#i", "save_as": "seen"},
        {"action": "evaluate", "expression": encode, "arg": "{{secret:pass}}"},
        {"action": "expect", "selector": "#i", "value": "{{seen}}"},
        {
            "action": "expect",
            "selector": "#i",
            "value": "{{secret:pass}}!",
            "timeout_s": 0.2,
            "continue_on_error": True,
        },
        {"action": "goto", "url": "@/page?{{secret:pass}}#{{secret:pass}}"},
        {"action": "click", "selector": "text={{secret:pass}}", "timeout_s": 0.2, "continue_on_error": True},
        {"action": "evaluate", "expression": "s => { throw new Error(s) }", "arg": "{{secret:pass}}"},
        secrets=SECRETS,
    )
    hidden = "{{secret:pass}}"
    results = stage.results
    assert (results[3].value, results[4].value) == (hidden, hidden)
    assert results[5].value[0] == hidden
    assert results[5].value[4] == {hidden: f"before {hidden} after"}
    assert results[6].state == "succeeded"
    told = repr([result.model_dump_json() for result in results]) + repr(outcome.error)
    for form in (SECRET, "ör+d", quote(SECRET), "%C3%B6r%2Bd", base64.b64encode(SECRET.encode()).decode()[:-4]):
        assert form not in told
    assert "user" not in told


async def test_page_cannot_ask_for_a_secret_or_a_variable(stage: Stage) -> None:
    stage.pages.at["/page"] = "<p>{{secret:pass}} {{head}}</p><input>"
    values = await stage.values(
        GOTO,
        {"action": "text", "selector": "h1", "save_as": "head"},
        {"action": "goto", "url": "@/page"},
        {"action": "text", "selector": "p", "save_as": "page"},
        {"action": "fill", "selector": "input", "text": "{{page}}"},
        {"action": "value", "selector": "input"},
        {"action": "press", "key": "{{secret:key}}"},
        secrets={**SECRETS, "key": "Tab"},
    )
    assert values[5] == "{{secret:pass}} {{head}}"


async def test_value_that_is_too_long_is_cut_and_saved_whole(stage: Stage) -> None:
    values = await stage.values(
        GOTO,
        {"action": "evaluate", "expression": "'x'.repeat(100000)", "save_as": "long"},
        {"action": "evaluate", "expression": "s => s.length", "arg": "{{long}}"},
    )
    assert VALUE_LIMIT_BYTES - 200 < len(values[1]) < VALUE_LIMIT_BYTES
    assert values[1].endswith(" of 100000 characters left out …]")
    assert values[2] == 100_000


async def test_secret_at_the_place_of_a_cut_does_not_show_its_beginning(stage: Stage) -> None:
    await stage.perform(
        GOTO,
        {"action": "evaluate", "expression": "s => 'x'.repeat(65430) + s + 'y'.repeat(1000)", "arg": "{{secret:long}}"},
        secrets={"long": "abcdefghijkl" * 20},
    )
    assert "abc" not in str(stage.results[1].value)


async def test_time_of_the_task_ends_the_step_in_hand(stage: Stage) -> None:
    began = time.monotonic()
    outcome = await stage.perform(GOTO, {"action": "wait_for", "selector": "#none"}, TITLE, time_s=2.0)
    assert 1.9 < time.monotonic() - began < 6
    assert outcome.error is not None
    assert outcome.error.code == "timed_out"
    assert [result.state for result in stage.results] == ["succeeded", "failed", "skipped"]


async def test_time_that_is_over_lets_no_step_go_on(stage: Stage) -> None:
    wait = {"action": "wait_for", "milliseconds": 9000, "continue_on_error": True}
    outcome = await stage.perform(GOTO, wait, {**TITLE, "continue_on_error": True}, time_s=2.0)
    assert outcome.error is not None
    assert outcome.error.code == "timed_out"
    assert [result.state for result in stage.results] == ["succeeded", "failed", "skipped"]


async def test_page_that_hangs_in_a_script_fails_its_step_in_time(stage: Stage) -> None:
    began = time.monotonic()
    outcome = await stage.perform(
        GOTO,
        {"action": "evaluate", "expression": "() => { while (true) {} }", "timeout_s": 0.5, "continue_on_error": True},
        {**TITLE, "timeout_s": 0.5},
    )
    assert time.monotonic() - began < 10
    assert outcome.error is not None
    assert "step 3 (title): the browser did not answer within 1 s" in outcome.error.message


async def test_page_that_crashes_ends_the_task_at_once(stage: Stage) -> None:
    crash = {"action": "goto", "url": "@/"}
    session = await stage.context.new_cdp_session(stage.context.pages[0])

    async def crash_soon() -> None:
        await asyncio.sleep(0.5)
        try:
            await session.send("Page.crash")
        except Error:
            return

    crashing = asyncio.create_task(crash_soon())
    began = time.monotonic()
    outcome = await stage.perform(crash, {"action": "wait_for", "selector": "#none", "continue_on_error": True}, TITLE)
    crashing.cancel()
    assert time.monotonic() - began < 10
    assert outcome.error is not None
    assert outcome.error.code == "page_crashed"
    assert "step 2 (wait_for): the page crashed" in outcome.error.message


async def test_cancelled_steps_end_at_once_and_were_told_as_far_as_they_came(stage: Stage) -> None:
    waits = {"action": "wait_for", "selector": "#none"}
    performing = asyncio.create_task(stage.perform(GOTO, waits))
    await stage.first_told()
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert [result.state for _, result in stage.told] == ["succeeded"]


async def test_browser_that_is_gone_is_no_failure_of_a_step(chromium: Browser, pages: Pages, tmp_path: Path) -> None:
    browser = await chromium.browser_type.launch(executable_path=browser_path(), args=["--no-sandbox"])
    context = await browser.new_context()
    await context.new_page()
    stage = Stage(context, pages, tmp_path)
    pages.at["/"] = HELLO
    performing = asyncio.create_task(stage.perform(GOTO, {"action": "wait_for", "selector": "#none"}))
    await stage.first_told()
    await browser.close()
    with pytest.raises(Error, match=r"^the browser is gone$") as raised:
        await performing
    assert raised.value.__suppress_context__


async def behind_a_filter(
    browser: Browser, pages: Pages, folder: Path, *steps: dict[str, Any], allow: tuple[str, ...] = ()
) -> list[StepResult]:
    """The results of steps in a context behind the box's own filter."""
    proxy = await FilterProxy.start(AllowPolicy.of(allow))
    context = await browser.new_context(proxy={"server": proxy.server, "bypass": "<-loopback>"})
    stage = Stage(context, pages, folder)
    try:
        spec = stage.spec(*steps)
        deadline_s = asyncio.get_running_loop().time() + 20
        await run_steps(
            context,
            spec,
            folder=folder,
            deadline_s=deadline_s,
            secrets={},
            on_step=stage.tell,
            explain=proxy.explain,
        )
    finally:
        await context.close()
        await proxy.close()
    return stage.results


@pytest.mark.parametrize("action", ["goto", "download"])
async def test_what_the_filter_refuses_is_said_with_what_to_do(
    chromium: Browser, pages: Pages, tmp_path: Path, action: str
) -> None:
    for url in ("@/", "https://127.0.0.1:8443/"):
        (result,) = await behind_a_filter(chromium, pages, tmp_path, {"action": action, "url": url})
        assert result.error is not None
        assert result.error.code == "blocked", result.error
        assert f"step 1 ({action}): blocked: 127.0.0.1" in result.error.message
        assert result.error.hint == "grant the host or its address with the task's allow"
    assert pages.asked == []


async def test_a_redirect_to_what_the_filter_refuses_is_said_with_what_it_led_to(
    chromium: Browser, pages: Pages, tmp_path: Path
) -> None:
    targets = iter(("http://127.0.0.2/", "https://127.0.0.2/"))

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", next(targets))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    pages.at["/"] = redirect
    for _ in range(2):
        (result,) = await behind_a_filter(chromium, pages, tmp_path, GOTO, allow=("127.0.0.1",))
        assert result.error is not None
        assert result.error.code == "blocked", result.error
        assert "blocked: 127.0.0.2 is not public" in result.error.message


async def test_what_the_filter_grants_is_reached_and_downloaded(
    chromium: Browser, pages: Pages, tmp_path: Path
) -> None:
    pages.at["/"] = HELLO
    fetch = {"action": "download", "url": "@/", "name": "hello.html"}
    results = await behind_a_filter(chromium, pages, tmp_path, GOTO, TITLE, fetch, allow=("127.0.0.1",))
    assert [result.error for result in results] == [None] * 3
    assert results[1].value == "Hello"
    assert results[2].value["size_bytes"] == len(HELLO)

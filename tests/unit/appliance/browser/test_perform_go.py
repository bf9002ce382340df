"""Going to addresses, and waiting."""

import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.unit.appliance.browser.stage import Stage, answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOTO = {"action": "goto", "url": "@/page"}


async def test_goto_follows_redirects_and_says_where_it_came(stage: Stage) -> None:
    stage.pages.at |= {"/old": answer(302, b"", Location="/new?q=1"), "/new": "<h1>new</h1>"}
    (value,) = await stage.values({"action": "goto", "url": "@/old", "referer": "http://from.example/"})
    assert value == {"url": f"{stage.pages.url}/new?q=1", "status": 200}


async def test_goto_of_a_page_that_is_missing_says_its_status(stage: Stage) -> None:
    assert (await stage.values({"action": "goto", "url": "@/none"}))[0]["status"] == 404


async def test_goto_about_blank_has_no_status(stage: Stage) -> None:
    assert await stage.values({"action": "goto", "url": "about:blank"}) == [{"url": "about:blank", "status": None}]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/hostname", "'file:' addresses are not opened"),
        ("chrome://version", "'chrome:' addresses are not opened"),
        ("data:text/html,x", "'data:' addresses are not opened"),
        ("javascript:alert(1)", "'javascript:' addresses are not opened"),
        ("view-source:http://a/", "'view-source:' addresses are not opened"),
        (" \tfi\nle:///etc/hostname", "'file:' addresses are not opened"),
        ("example.com/a", "'example.com/a' is no whole address"),
    ],
)
async def test_goto_opens_nothing_but_http_and_a_blank_page(stage: Stage, url: str, said: str) -> None:
    outcome = await stage.perform({"action": "goto", "url": url})
    assert outcome.error is not None
    assert outcome.error.code == "blocked"
    assert outcome.error.message == f"step 1 (goto): {said} (on about:blank)"
    assert "https://" in outcome.error.hint


async def test_goto_a_host_that_refuses_says_so(stage: Stage) -> None:
    outcome = await stage.perform({"action": "goto", "url": "http://127.0.0.1:1/secret?token=abc"})
    assert outcome.error is not None
    assert "the host refused the connection (ERR_CONNECTION_REFUSED)" in outcome.error.message or (
        "ERR_UNSAFE_PORT" in outcome.error.message
    )
    assert "token" not in outcome.error.message


async def test_goto_a_file_that_is_to_be_saved_points_to_the_download_step(stage: Stage) -> None:
    stage.pages.at["/file"] = answer(200, b"x" * 10, Content_Disposition="attachment; filename=a.bin")
    outcome = await stage.perform({"action": "goto", "url": "@/file"})
    assert outcome.error is not None
    assert "take a download step" in outcome.error.message


async def test_goto_a_page_that_never_ends_fails_in_its_time(stage: Stage) -> None:
    release = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.end_headers()
        handler.wfile.write(b"<h1>begun</h1>")
        handler.wfile.flush()
        release.wait(20)

    stage.pages.at["/page"] = hang
    began = time.monotonic()
    outcome = await stage.perform({**GOTO, "timeout_s": 0.6})
    took = time.monotonic() - began
    release.set()
    assert outcome.error is not None
    assert "not done within 0.6 s: navigating to" in outcome.error.message
    assert 0.5 < took < 8


async def test_goto_need_not_wait_for_all_of_a_page(stage: Stage) -> None:
    release = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        release.wait(20)

    stage.pages.at |= {"/page": "<h1>soon</h1><img src=/slow>", "/slow": hang}
    values = await stage.values({**GOTO, "wait_until": "domcontentloaded"}, {"action": "text", "selector": "h1"})
    release.set()
    assert values[1] == "soon"


async def test_back_forward_and_reload_move_in_the_history(stage: Stage) -> None:
    stage.pages.at |= {"/1": "<title>1</title>", "/2": "<title>2</title>"}
    values = await stage.values(
        {"action": "goto", "url": "@/1"},
        {"action": "goto", "url": "@/2"},
        {"action": "back"},
        {"action": "title"},
        {"action": "forward"},
        {"action": "title"},
        {"action": "reload"},
    )
    assert values[2]["url"].endswith("/1")
    assert (values[3], values[5]) == ("1", "2")
    assert values[6] == {"url": f"{stage.pages.url}/2", "status": 200}


async def test_where_there_is_no_page_to_go_to_it_fails(stage: Stage) -> None:
    outcome = await stage.perform({"action": "back"})
    assert outcome.error is not None
    assert outcome.error.message == "step 1 (back): there is no page to go back to (on about:blank)"
    assert "there is no page to go forward to" in await stage.fails("<p>", {"action": "forward"})


LATER = "<div id=late hidden>done</div><script>setTimeout(() => { %s }, 150)</script>"


@pytest.mark.parametrize(
    ("wait", "script"),
    [
        ({"selector": "#late"}, "late.hidden = false"),
        ({"selector": "#new", "state": "attached"}, "document.body.append(Object.assign(new Image, {id: 'new'}))"),
        ({"selector": "#late", "state": "detached"}, "late.remove()"),
        ({"selector": "h1", "state": "hidden"}, ""),
        ({"text": "done"}, "late.hidden = false"),
        ({"url": "**/page#there"}, "location.hash = 'there'"),
        ({"url": {"regex": "#THE", "ignore_case": True}}, "location.hash = 'there'"),
        ({"url": "**/{other,next}"}, "location.href = '/next'"),
        ({"load_state": "networkidle"}, ""),
        ({"milliseconds": 200}, ""),
    ],
)
async def test_wait_for_one_thing(stage: Stage, wait: dict[str, Any], script: str) -> None:
    stage.pages.at["/next"] = "<p>next</p>"
    value = await stage.on(LATER % script, {"action": "wait_for", **wait})
    assert (value is not None) == ("url" in wait)


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        ({"selector": "#late"}, 'waiting for locator("#late").first to be visible; locator resolved to hidden'),
        ({"text": "nothing like it"}, 'waiting for get_by_text("nothing like it").first'),
        ({"url": "**/elsewhere"}, "the address did not become '**/elsewhere'"),
        ({"url": "**/pa"}, "the address did not become '**/pa'"),
        ({"response": "**/never"}, "no response from '**/never' came; "),
        ({"response": "**/page", "status": 201}, "of the address with status 200"),
    ],
)
async def test_wait_for_what_does_not_come_says_what_was_there(stage: Stage, wait: dict[str, Any], said: str) -> None:
    message = await stage.fails(LATER % "", {"action": "wait_for", "timeout_s": 0.5, **wait})
    assert said in message


@pytest.mark.parametrize("later", ["", "setTimeout(() => history.pushState(null, '', `?${'a'.repeat(60)}!`), 200)"])
async def test_an_address_by_an_expression_that_backtracks_is_given_up(stage: Stage, later: str) -> None:
    at_once = "" if later else f"history.replaceState(null, '', '?{'a' * 60}!')"
    step = {"action": "wait_for", "url": {"regex": "(a+)+#"}, "timeout_s": 20}
    assert "takes more than 0.5 s" in await stage.fails(f"<script>{at_once}{later}</script>", step)


async def test_wait_for_a_response_counts_what_came_since_the_step_before_began(stage: Stage) -> None:
    stage.pages.at["/data"] = answer(201, b"{}")
    value = await stage.on(
        "<button onclick=\"fetch('/data?x=1')\">load</button>",
        {"action": "click", "selector": "button"},
        {"action": "wait_for", "response": "**/data?x=*", "status": 201},
    )
    assert value == {"url": f"{stage.pages.url}/data?x=1", "status": 201}


async def test_wait_longer_than_the_usual_limit_of_a_step_is_allowed(stage: Stage) -> None:
    from appliance.browser.perform import _timeout_s

    spec = stage.spec({"action": "wait_for", "milliseconds": 40_000})
    assert _timeout_s(spec.steps[0]) > 40

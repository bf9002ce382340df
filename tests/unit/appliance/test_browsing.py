"""Browser tasks of a box without a hub: real journal, spawner, runner and Chromium."""

import asyncio
import io
import json
import time
import zipfile
from http.server import BaseHTTPRequestHandler

import pytest

from appliance.browser.supervisor import BrowserLimits
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.task import TaskState
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.browses import SECRET, WAIT, code, content, goto, names, runner, stepped, steps
from tests.unit.appliance.engines import Engines, browse, until


async def test_a_browser_task_gives_its_values_and_what_it_kept(engines: Engines, pages: Pages) -> None:
    await engines.open()
    done = await engines.browse(goto(pages), {"action": "text", "selector": "#p"}, {"action": "screenshot"})
    assert (done.state, done.outcome.error, done.outcome.exit_code) == (TaskState.SUCCEEDED, None, None)
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][1]["value"] == "text of the page"
    assert content(engines, done, "03-screenshot.png").startswith(b"\x89PNG")
    assert names(done) == {"03-screenshot.png"}
    assert engines.states(done.task_id) == ["running", "succeeded"]
    assert engines.rows("SELECT * FROM steps") == []
    await until("the attempt's folder to go", lambda: not list((engines.path / "attempts").iterdir()))


async def test_a_step_that_fails_ends_the_task_and_the_moment_is_kept(engines: Engines, pages: Pages) -> None:
    await engines.open()
    click = {"action": "click", "selector": "#absent", "timeout_s": 0.5}
    done = await engines.browse(goto(pages), click, {"action": "title"})
    assert (done.state, code(done)) == (TaskState.FAILED, "step_failed")
    assert done.outcome.error is not None
    assert "step 2 (click)" in done.outcome.error.message
    assert steps(done) == [("goto", "succeeded"), ("click", "failed"), ("title", "skipped")]
    assert names(done) == {"failure.png", "failure.txt", "trace.zip"}
    assert b"text of the page" in content(engines, done, "failure.txt")
    assert content(engines, done, "failure.png").startswith(b"\x89PNG")


async def test_a_task_whose_time_is_over_says_so_with_the_steps_it_did(engines: Engines, pages: Pages) -> None:
    await engines.open()
    began = time.monotonic()
    done = await engines.browse(goto(pages), WAIT, timeout_s=1)
    assert time.monotonic() - began < 8
    assert (done.state, code(done)) == (TaskState.TIMED_OUT, "timed_out")
    assert done.outcome.error is not None
    assert done.outcome.error.message == "ended after 1 s, in step 2 (wait_for)"
    assert steps(done) == [("goto", "succeeded"), ("wait_for", "failed")]
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][1]["error"]["code"] == "cut_off"
    assert "trace.zip" in names(done)


async def test_a_cancelled_task_ends_at_once_and_the_browser_goes_on(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    task_id = await engine.submit(browse(goto(pages), WAIT))
    await stepped(engine, task_id)
    before = runner(engines).pid
    engine.executor.cancel(task_id, "ann")
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.CANCELLED, "cancelled")
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED
    assert runner(engines).pid == before


async def test_no_more_run_at_once_than_allowed_and_bash_does_not_wait_for_them(engines: Engines, pages: Pages) -> None:
    engine = await engines.open(concurrency=4, browser=BrowserLimits(concurrency=1))
    first = await engine.submit(browse(goto(pages), WAIT))
    second = await engine.submit(browse(goto(pages)))
    await stepped(engine, first)
    assert (await engines.run("echo beside")).outcome.stdout.text == "beside\n"
    assert engines.states(second) == ["accepted"]
    engine.executor.cancel(first, "")
    assert (await engines.wait(second)).state is TaskState.SUCCEEDED


async def test_an_address_that_is_not_granted_is_refused_with_the_reason(engines: Engines, pages: Pages) -> None:
    await engines.open()
    done = await engines.browse(goto(pages), allow=[])
    assert done.state is TaskState.FAILED
    assert done.outcome.error is not None
    assert "not public" in done.outcome.error.message
    assert pages.asked == []


async def test_a_task_is_the_device_language_and_place_that_it_names(engines: Engines, pages: Pages) -> None:
    await engines.open()
    look = (
        "async () => [navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone, navigator.userAgent, "
        "innerWidth, (await new Promise(done => navigator.geolocation.getCurrentPosition(done))).coords.latitude]"
    )
    done = await engines.browse(
        goto(pages),
        {"action": "evaluate", "expression": look},
        locale="de-DE",
        timezone="Asia/Tokyo",
        user_agent="ours/1",
        viewport={"width": 777, "height": 500},
        geolocation={"latitude": 12.5, "longitude": 3.0},
    )
    assert done.outcome.result is not None, done.outcome.error
    assert done.outcome.result["steps"][1]["value"] == ["de-DE", "Asia/Tokyo", "ours/1", 777, 12.5]
    phone = await engines.browse(
        goto(pages), {"action": "evaluate", "expression": "navigator.userAgent"}, device="Pixel 7"
    )
    assert phone.outcome.result is not None
    assert "Android" in phone.outcome.result["steps"][1]["value"]


@pytest.mark.parametrize("fields", [{"device": "Nokia 3310"}, {"timezone": "Mars/Olympus"}, {"locale": "??"}])
async def test_an_option_that_there_is_not_fails_the_task_by_its_name(
    engines: Engines, pages: Pages, fields: dict[str, str]
) -> None:
    await engines.open()
    done = await engines.browse(goto(pages), **fields)
    assert (done.state, code(done)) == (TaskState.FAILED, "context_refused")
    assert done.outcome.error is not None
    assert next(iter(fields)) in done.outcome.error.message
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED


async def test_a_secret_reaches_the_page_and_nothing_else(
    engines: Engines, pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    sent = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        sent.append(handler.headers["X-Key"])
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        body = f"<p id=p>{SECRET}</p><input id=i>".encode()
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    pages.at["/secret"] = take
    await engines.open(browser=BrowserLimits(secrets={"key": SECRET, "other": "unused-secret"}))
    done = await engines.browse(
        goto(pages, "/secret"),
        {"action": "fill", "selector": "#i", "text": "{{secret:key}}"},
        {"action": "value", "selector": "#i"},
        {"action": "text", "selector": "#p"},
        {"action": "click", "selector": "text={{secret:key}} absent", "timeout_s": 0.3},
        headers={"X-Key": "{{secret:key}}"},
    )
    assert sent[0] == SECRET
    assert done.state is TaskState.FAILED
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][2]["value"] == "{{secret:key}}"
    assert names(done) == {"failure.txt", "trace.zip"}
    await engines.close()
    raw = SECRET.encode()
    for path in engines.path.rglob("*"):
        if path.is_file():
            assert raw not in path.read_bytes(), path
    assert SECRET not in caplog.text
    with zipfile.ZipFile(io.BytesIO(content(engines, done, "trace.zip"))) as trace:
        assert {"0-trace.trace", "1-trace.trace"} <= set(trace.namelist())
        assert [name for name in trace.namelist() if raw in trace.read(name)] == []


async def test_a_result_too_large_for_an_entry_is_cut_and_kept_whole_beside_it(engines: Engines, pages: Pages) -> None:
    await engines.open()
    long = {"action": "evaluate", "expression": "'x'.repeat(60000)"}
    done = await engines.browse(goto(pages), *[long] * 6)
    assert done.state is TaskState.SUCCEEDED
    assert done.outcome.result is not None
    assert "left out" in done.outcome.result["steps"][1]["value"]
    whole = json.loads(content(engines, done, "result.json"))
    assert [len(step["value"]) for step in whole["steps"][1:]] == [60_000] * 6
    ((body,),) = engines.rows("SELECT body FROM events ORDER BY seq DESC LIMIT 1")
    assert ENTRY_LIMIT_BYTES * 0.8 < len(body.encode()) <= ENTRY_LIMIT_BYTES


async def test_without_a_browser_a_task_fails_with_what_to_install(engines: Engines, pages: Pages) -> None:
    engine = await engines.open(browser=BrowserLimits(program="/no/such/chromium"))
    done = await engines.browse(goto(pages))
    assert (done.state, code(done)) == (TaskState.FAILED, "no_browser")
    assert done.outcome.error is not None
    assert "apt-get install chromium-headless-shell" in done.outcome.error.hint
    assert engine.executor.browsing.supervisor.status()["state"] == "unable"
    assert any("/no/such/chromium" in text for text in engine.executor.browsing.supervisor.warnings())


async def test_a_box_that_is_set_to_run_no_browser_says_so(engines: Engines, pages: Pages) -> None:
    await engines.open(browser=BrowserLimits(is_on=False))
    done = await engines.browse(goto(pages))
    assert (done.state, code(done)) == (TaskState.FAILED, "no_browser")
    assert done.outcome.error is not None
    assert "auto" in done.outcome.error.hint


async def test_four_at_once_all_succeed(engines: Engines, pages: Pages) -> None:
    engine = await engines.open(browser=BrowserLimits(concurrency=4))
    tasks = [await engine.submit(browse(goto(pages), {"action": "screenshot"})) for _ in range(12)]
    ends = await asyncio.gather(*(engines.wait(task_id) for task_id in tasks))
    assert [done.state for done in ends] == [TaskState.SUCCEEDED] * 12


async def test_a_trace_that_was_asked_for_has_pictures_and_snapshots(engines: Engines, pages: Pages) -> None:
    await engines.open()
    done = await engines.browse(goto(pages), {"action": "click", "selector": "h1"}, trace=True)
    assert done.state is TaskState.SUCCEEDED
    assert names(done) == {"trace.zip"}
    with zipfile.ZipFile(io.BytesIO(content(engines, done, "trace.zip"))) as trace:
        events = trace.read("0-trace.trace")
        assert b'"type":"frame-snapshot"' in events
        assert b'"type":"screencast-frame"' in events
    plain = await engines.browse(goto(pages))
    assert names(plain) == set()

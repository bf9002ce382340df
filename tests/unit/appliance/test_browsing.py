"""Browser tasks of a box without a hub: real journal, spawner, runner and Chromium."""

import asyncio
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest

from appliance.browser.supervisor import BrowserLimits
from appliance.browsing import STATE_FILE
from appliance.engine import Engine
from appliance.live import Finished, boot_s
from appliance.spawn import boot_id
from appliance.spawner import kernel
from appliance.watch import YOUNG_S
from cloudsync.messages import ENTRY_LIMIT_BYTES, StepReport
from cloudsync.task import TaskState
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.engines import Engines, browse, until

SECRET = "correct-horse-battery"


@pytest.fixture
def pages() -> Iterator[Pages]:
    pages = Pages()
    pages.at["/"] = "<title>Home</title><h1>Hello</h1><p id=p>text of the page</p>"
    yield pages
    pages.close()


def goto(pages: Pages, path: str = "/") -> dict[str, Any]:
    return {"action": "goto", "url": f"{pages.url}{path}"}


WAIT: dict[str, Any] = {"action": "wait_for", "milliseconds": 600_000}


def code(done: Finished) -> str:
    return done.outcome.error.code if done.outcome.error is not None else ""


def steps(done: Finished) -> list[tuple[str, str]]:
    assert done.outcome.result is not None
    return [(step["action"], step["state"]) for step in done.outcome.result["steps"]]


def names(done: Finished) -> set[str]:
    return {artifact.name for artifact in done.outcome.artifacts}


def content(engines: Engines, done: Finished, name: str) -> bytes:
    (artifact,) = [one for one in done.outcome.artifacts if one.name == name]
    return (engines.path / "artifacts" / artifact.sha256).read_bytes()


def runner(engines: Engines) -> psutil.Process:
    """The one runner that lives."""
    assert engines.engine is not None
    (seat,) = engines.engine.executor.browsing.supervisor._seats.values()
    assert seat.pid is not None
    return psutil.Process(seat.pid)


async def stepped(engine: Engine, task_id: str) -> None:
    """Until a task has done a step."""
    await until("a step", lambda: bool(engine.executor.tasks[task_id].steps))


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


# Profiles


def login(pages: Pages) -> dict[str, Any]:
    return {"action": "evaluate", "expression": "document.cookie = 'who=ann; max-age=3600'"}


COOKIE: dict[str, Any] = {"action": "evaluate", "expression": "document.cookie"}
SAVE: dict[str, Any] = {"action": "save_profile"}


async def test_a_profile_holds_from_task_to_task_and_over_a_restart(engines: Engines, pages: Pages) -> None:
    await engines.open()
    assert (await engines.browse(goto(pages), login(pages), SAVE, profile="shop")).state is TaskState.SUCCEEDED
    await engines.close()
    await engines.open()
    done = await engines.browse(goto(pages), COOKIE, profile="shop")
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][1]["value"] == "who=ann"
    alone = await engines.browse(goto(pages), COOKIE)
    assert alone.outcome.result is not None
    assert alone.outcome.result["steps"][1]["value"] == ""


async def test_a_task_that_fails_leaves_the_profile_as_it_was(engines: Engines, pages: Pages) -> None:
    await engines.open()
    await engines.browse(goto(pages), login(pages), SAVE, profile="shop")
    spoil = {"action": "evaluate", "expression": "document.cookie = 'who=; max-age=0'"}
    missing = {"action": "click", "selector": "#absent", "timeout_s": 0.2}
    assert (await engines.browse(goto(pages), spoil, SAVE, missing, profile="shop")).state is TaskState.FAILED
    done = await engines.browse(goto(pages), COOKIE, profile="shop")
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][1]["value"] == "who=ann"


async def test_a_damaged_profile_falls_back_to_the_one_before_and_says_so(engines: Engines, pages: Pages) -> None:
    await engines.open()
    for _ in range(2):
        await engines.browse(goto(pages), login(pages), SAVE, profile="shop")
    state = engines.path / "browser" / "profiles" / "shop" / "state.json"
    await until("the second save", lambda: state.with_name("state.previous.json").exists() and state.exists())
    state.write_bytes(state.read_bytes()[:40])
    done = await engines.browse(goto(pages), COOKIE, profile="shop")
    assert done.outcome.result is not None
    assert done.outcome.result["steps"][1]["value"] == "who=ann"
    assert "damaged" in done.outcome.result["notes"][0]


async def test_a_profile_is_not_written_through_what_lies_in_the_attempts_folder(
    engines: Engines, pages: Pages, tmp_path: Path
) -> None:
    engine = await engines.open()
    saved = engines.path / "browser" / "profiles" / "shop" / "state.json"
    saved.parent.mkdir()
    os.mkfifo(saved)
    task_id = await engine.submit(browse(goto(pages), profile="shop"))
    folder = engine.executor.tasks[task_id].folder
    await until("the attempt's folder", folder.exists)
    private = tmp_path / "private"
    private.write_text("private")
    (folder / STATE_FILE).symlink_to(private)
    await asyncio.to_thread(saved.write_bytes, b'{"cookies": [], "origins": []}')
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.FAILED, "spawn_failed")
    assert private.read_text() == "private"


async def test_a_profile_serves_one_task_at_a_time_and_holds_up_no_other(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    first = await engine.submit(browse(goto(pages), WAIT, profile="shop"))
    second = await engine.submit(browse(goto(pages), profile="shop"))
    await stepped(engine, first)
    assert (await engines.browse(goto(pages), profile="bank")).state is TaskState.SUCCEEDED
    assert engines.states(second) == ["accepted"]
    engine.executor.cancel(first, "")
    assert (await engines.wait(second)).state is TaskState.SUCCEEDED


# Options and secrets


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


# Loss


@pytest.mark.parametrize("victim", ["runner", "driver", "browser"])
async def test_whatever_dies_the_task_says_so_and_the_next_has_a_browser(
    engines: Engines, pages: Pages, victim: str
) -> None:
    engine = await engines.open()
    task_id = await engine.submit(browse(goto(pages), WAIT))
    await stepped(engine, task_id)
    process = runner(engines)
    tree = [process, *process.children(recursive=True)]
    killed = {"runner": process, "driver": process.children()[0], "browser": process.children()[0].children()[0]}
    os.kill(killed[victim].pid, signal.SIGKILL)
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.INTERRUPTED, "browser_crashed")
    assert steps(done) == [("goto", "succeeded"), ("wait_for", "failed")]
    assert [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED
    await until("the folders to go", lambda: len(list((engines.path / "browser" / "tmp").iterdir())) == 1)


async def test_an_idempotent_task_is_tried_again_after_a_crash(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    slow = {"action": "wait_for", "milliseconds": 700}
    task_id = await engine.submit(browse(goto(pages), slow, {"action": "screenshot"}, idempotent=True))
    await stepped(engine, task_id)
    os.kill(runner(engines).pid, signal.SIGKILL)
    done = await engines.wait(task_id)
    assert done.state is TaskState.SUCCEEDED
    assert engines.states(task_id) == ["running", "running", "succeeded"]
    assert steps(done) == [("goto", "succeeded"), ("wait_for", "succeeded"), ("screenshot", "succeeded")]


async def test_a_page_that_crashes_fails_its_task_alone(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    beside = await engine.submit(browse(goto(pages), {"action": "wait_for", "milliseconds": 1500}))
    await stepped(engine, beside)
    before = runner(engines).pid
    done = await engines.browse(goto(pages), {"action": "goto", "url": "chrome://crash"})
    if code(done) != "page_crashed":  # a scheme that is refused: let it take its memory instead
        pages.at["/greedy"] = "<script>const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()))</script>"
        done = await engines.browse(goto(pages, "/greedy"))
    assert (done.state, code(done)) == (TaskState.FAILED, "page_crashed")
    assert (await engines.wait(beside)).state is TaskState.SUCCEEDED
    assert runner(engines).pid == before


async def test_a_lost_spawner_takes_the_browser_along_and_the_next_brings_another(
    engines: Engines, pages: Pages
) -> None:
    engine = await engines.open()
    task_id = await engine.submit(browse(goto(pages), WAIT))
    await stepped(engine, task_id)
    tree = [runner(engines), *runner(engines).children(recursive=True)]
    engines.kill_spawner()
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.INTERRUPTED, "browser_lost")
    assert steps(done) == [("goto", "succeeded"), ("wait_for", "failed")]
    assert [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED


def forge(folder: Path, victim: psutil.Process, key: str) -> None:
    """Put into an attempt's folder what its user could: records of the spawner that say what never happened."""
    boot = boot_id()
    stat = kernel.read_stat(victim.pid)
    assert stat is not None
    process = {"pid": victim.pid, "start_time": stat.start_time, "boot_id": boot, "stamp": 0, "key": key}
    usage = {"cpu_ms": 1, "max_rss_kb": 1}
    ended = {"exit_code": 0, "signal": None, "ended_at": 0.0, "usage": usage, "boot_id": boot, "key": key}
    (folder / "started").write_text(json.dumps(process))
    (folder / "exit").write_text(json.dumps(ended))


@pytest.fixture
def victim() -> Iterator[psutil.Process]:
    """A process that is none of the box's."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()


async def test_what_a_task_writes_into_its_folder_is_no_word_of_the_spawners(
    engines: Engines, pages: Pages, tmp_path: Path, victim: psutil.Process
) -> None:
    engine = await engines.open(spool_limit_bytes=16 * 1024)
    task_id = await engine.submit(browse(goto(pages), WAIT))
    await stepped(engine, task_id)
    task = engine.executor.tasks[task_id]
    private = tmp_path / "private"
    private.write_bytes(b"p" * 256 * 1024)
    (task.folder / "stdout").symlink_to(private)
    offered: list[object] = []

    def offer(message: object) -> bool:
        offered.append(message)
        return True

    engine.executor.follow(task_id, {"stdout": 0, "stderr": 0}, offer)
    forge(task.folder, victim, task.key)
    await until("the guard to be due", lambda: boot_s() - (task.started_boot_s or boot_s()) > 4 * YOUNG_S)
    engines.kill_spawner()
    done = await engines.wait(task_id)
    assert (done.state, code(done), done.outcome.exit_code) == (TaskState.INTERRUPTED, "browser_lost", None)
    assert done.outcome.stdout.total_bytes == 0
    assert names(done) == set()
    assert {type(each) for each in offered} == {StepReport}
    assert private.read_bytes() == b"p" * 256 * 1024
    assert victim.is_running()
    assert victim.status() != psutil.STATUS_ZOMBIE


async def test_a_folder_that_is_its_users_has_nothing_killed_at_the_start(
    engines: Engines, victim: psutil.Process
) -> None:
    folder = engines.path / "attempts" / "left-behind.1"
    folder.mkdir(parents=True)
    engines.path.chmod(0o700)
    forge(folder, victim, folder.name)
    os.chown(folder, 65534, 65534)
    await engines.open()
    assert not folder.exists()
    assert victim.is_running()
    assert victim.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("moment", ["before the next spawner", "while what it left is ended"])
async def test_a_task_whose_profile_is_read_while_the_spawner_is_lost_never_runs_beside_its_end(
    engines: Engines, pages: Pages, moment: str
) -> None:
    engine = await engines.open()
    executor = engine.executor
    state = engines.path / "browser" / "profiles" / "slow" / "state.json"
    state.parent.mkdir()
    os.mkfifo(state)
    task_id = await engine.submit(browse(goto(pages), profile="slow"))
    task = executor.tasks[task_id]
    await until("the attempt's folder", task.folder.exists)
    before = executor.spawner
    engines.kill_spawner()
    if moment == "before the next spawner":
        await until("the loss", lambda: executor.spawner is None)
    else:
        await until("the next spawner", lambda: executor.spawner not in {None, before})
    feed = state.open("wb", buffering=0)
    feed.write(b'{"cookies": [], "origins": []}')
    feed.close()
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.INTERRUPTED, "browser_lost")
    await until("the profile to be free", lambda: "slow" not in executor.browsing._busy)
    status = executor.browsing.supervisor.status()
    assert (status["waiting"], status["running"]) == (0, 0)
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED
    assert len(pages.asked) == 1


async def test_a_stop_interrupts_what_runs_and_leaves_no_process_and_no_folder(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    once = await engine.submit(browse(goto(pages), WAIT))
    again = await engine.submit(browse(goto(pages), {"action": "wait_for", "milliseconds": 300}, idempotent=True))
    await stepped(engine, once)
    await stepped(engine, again)
    tree = [runner(engines), *runner(engines).children(recursive=True)]
    await engines.close()
    assert [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert list((engines.path / "browser" / "tmp").iterdir()) == []
    assert engines.states(once) == ["running", "interrupted"]
    assert engines.states(again) == ["running"]
    await engines.open()
    done = await engines.wait(once)
    assert (code(done), steps(done)) == ("stopped", [("goto", "succeeded"), ("wait_for", "failed")])
    assert (await engines.wait(again)).state is TaskState.SUCCEEDED


async def test_the_browser_is_replaced_after_its_tasks_and_none_is_lost(engines: Engines, pages: Pages) -> None:
    engine = await engines.open(browser=BrowserLimits(concurrency=2, recycle_tasks=3))
    first = None
    seen = set()
    tasks = [await engine.submit(browse(goto(pages), {"action": "title"})) for _ in range(10)]
    for task_id in tasks:
        assert (await engines.wait(task_id)).state is TaskState.SUCCEEDED
        seen |= engine.executor.browsing.supervisor.keys
        first = first or next(iter(seen))
    await until("the first to go", lambda: first not in engine.executor.browsing.supervisor.keys)
    assert len(seen) >= 2
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED


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


async def test_what_lies_in_the_browsers_folders_at_a_start_goes(engines: Engines, pages: Pages) -> None:
    await engines.open()
    await engines.close()
    for part in ("tmp", "runners"):
        left = engines.path / "browser" / part / "~browser-left.1"
        left.mkdir()
        (left / "file").write_text("left by a cut")
    await engines.open()
    assert [path for part in ("tmp", "runners") for path in (engines.path / "browser" / part).iterdir()] == []
    assert isinstance(engines.path, Path)


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


async def test_the_browsers_end_is_no_fault_of_a_tasks_options(engines: Engines, pages: Pages) -> None:
    engine = await engines.open()
    await engines.browse(goto(pages))
    browser = runner(engines).children()[0].children()[0]
    browser.suspend()
    task_id = await engine.submit(browse(goto(pages), locale="de-DE"))
    await until("the start", lambda: f"{task_id}.1" in engine.executor.running)
    await asyncio.sleep(0.2)  # for the runner to ask for the context
    os.kill(browser.pid, signal.SIGKILL)
    done = await engines.wait(task_id)
    assert (done.state, code(done)) == (TaskState.INTERRUPTED, "browser_crashed")

"""What becomes of browser tasks when something under them dies, stops or lies."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.browser.supervisor import BrowserLimits
from appliance.live import boot_s
from appliance.spawn import boot_id
from appliance.spawner import kernel
from appliance.watch import YOUNG_S
from cloudsync.messages import StepReport
from cloudsync.task import TaskState
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.browses import WAIT, code, goto, names, runner, stepped, steps
from tests.unit.appliance.engines import Engines, browse, until


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

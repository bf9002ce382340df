"""The supervisor with real runners: when one is started, replaced and given up."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from appliance.browser import supervisor as module
from appliance.browser.seat import Stage
from appliance.browser.supervisor import BrowserLimits, Supervisor
from appliance.spawn import read_started
from cloudsync.task import TaskState
from tests.unit.appliance.browser.stage import Pages, browser_path
from tests.unit.appliance.engines import Engines, browse, until


@pytest.fixture
def pages() -> Iterator[Pages]:
    pages = Pages()
    pages.at["/"] = "<title>Home</title>"
    yield pages
    pages.close()


def goto(pages: Pages) -> dict[str, Any]:
    return {"action": "goto", "url": f"{pages.url}/"}


async def warm(engines: Engines, **limits: Any) -> Supervisor:
    """The supervisor of a box whose browser is ready."""
    engine = await engines.open(browser=BrowserLimits(**limits))
    supervisor = engine.executor.browsing.supervisor
    supervisor.warm_up()
    await ready(supervisor)
    return supervisor


async def ready(supervisor: Supervisor, other_than: str = "") -> str:
    """Until a runner is ready; its key."""

    def look() -> str | None:
        seat = supervisor._current
        return seat.key if seat is not None and seat.key != other_than else None

    return await until("a browser", look)


def pid_of(engines: Engines, key: str) -> int:
    record = read_started(engines.path / "browser" / "runners" / key)
    assert record is not None
    return record.pid


async def test_a_browser_that_dies_idle_is_replaced_before_anybody_asks(engines: Engines) -> None:
    supervisor = await warm(engines)
    first = await ready(supervisor)
    tree = psutil.Process(pid_of(engines, first)).children(recursive=True)
    os.kill(pid_of(engines, first), signal.SIGKILL)
    second = await ready(supervisor, other_than=first)
    await until("the first to go", lambda: supervisor.keys == {second})
    await until("its processes to go", lambda: not [one for one in tree if one.is_running()])
    folders = engines.path / "browser"
    await until("its folders to go", lambda: {path.name for path in folders.glob("[tr]*/*")} == {second})


async def test_status_says_which_browser_runs_and_what_it_takes(engines: Engines) -> None:
    supervisor = await warm(engines, concurrency=2)
    await until("a measure", lambda: supervisor.status()["memory_mib"] > 0)
    status = supervisor.status()
    assert (status["state"], status["running"], status["waiting"], status["concurrency"]) == ("ready", 0, 0, 2)
    assert status["version"].split(".")[0].isdigit()
    assert status["sandbox"] == (os.geteuid() != 0)
    assert 100 < status["memory_mib"] < 1000
    assert bool(supervisor.warnings()) == (os.geteuid() == 0)


async def test_one_that_takes_too_much_memory_is_replaced_once_it_has_done_something(
    engines: Engines, pages: Pages
) -> None:
    supervisor = await warm(engines, memory_mib=1)
    first = await ready(supervisor)
    await until("a measure", lambda: supervisor.status()["memory_mib"] > 1)
    assert supervisor.keys == {first}
    # The page itself may not take more than that either.
    await engines.browse({"action": "title"})
    await ready(supervisor, other_than=first)
    assert first not in supervisor.keys or supervisor._seats[first].stage is Stage.RETIRING


async def test_a_browser_that_does_not_start_fails_the_task_with_what_it_said(engines: Engines, pages: Pages) -> None:
    engine = await engines.open(browser=BrowserLimits(program=shutil.which("false")))
    done = await engines.browse(goto(pages))
    assert done.state is TaskState.FAILED
    assert done.outcome.error is not None
    assert done.outcome.error.code == "browser_failed"
    assert "does not start" in done.outcome.error.message
    assert engine.executor.browsing.supervisor.status()["state"] == "unable"


async def test_a_browser_that_is_installed_later_is_found_without_a_restart(
    engines: Engines, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", (0.0, 0.1, 0.2))
    program = tmp_path / "chromium"
    await engines.open(browser=BrowserLimits(program=str(program)))
    assert (await engines.browse(goto(pages))).state is TaskState.FAILED
    program.symlink_to(Path(browser_path()).resolve())
    assert engines.engine is not None
    await ready(engines.engine.executor.browsing.supervisor)
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED
    assert engines.engine.executor.browsing.supervisor.unable is None


async def test_a_task_that_does_not_begin_takes_its_runner_along(
    engines: Engines, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_LIMIT_S", 0.5)
    supervisor = await warm(engines)
    key = await ready(supervisor)
    pid = pid_of(engines, key)
    os.kill(pid, signal.SIGSTOP)
    done = await engines.browse(goto(pages))
    assert (done.state, psutil.pid_exists(pid)) == (TaskState.INTERRUPTED, False)
    assert done.outcome.error is not None
    assert "did not begin" in done.outcome.error.message
    monkeypatch.undo()
    await ready(supervisor, other_than=key)
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED


async def test_a_task_that_has_begun_is_given_its_own_time(
    engines: Engines, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_LIMIT_S", 4.0)
    await warm(engines)
    done = await engines.browse({"action": "wait_for", "milliseconds": 4500})
    assert done.state is TaskState.SUCCEEDED


async def test_a_task_that_does_not_end_takes_its_runner_along_after_the_grace(
    engines: Engines, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    supervisor = await warm(engines)
    key = await ready(supervisor)
    assert engines.engine is not None
    task_id = await engines.engine.submit(browse(goto(pages), {"action": "wait_for", "milliseconds": 600_000}))
    await until("a step", lambda: bool(engines.engine and engines.engine.executor.tasks[task_id].steps))
    pid = pid_of(engines, key)
    os.kill(pid, signal.SIGSTOP)
    engines.engine.executor.cancel(task_id, "ann")
    done = await engines.wait(task_id)
    assert done.state is TaskState.CANCELLED
    assert not psutil.pid_exists(pid)
    assert (await engines.browse(goto(pages))).state is TaskState.SUCCEEDED

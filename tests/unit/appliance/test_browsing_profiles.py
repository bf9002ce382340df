"""Profiles of browser tasks: what holds from one task to the next, and when it does not."""

import asyncio
import os
from pathlib import Path
from typing import Any

from appliance.browsing import STATE_FILE
from cloudsync.task import TaskState
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.browses import WAIT, code, goto, stepped
from tests.unit.appliance.engines import Engines, browse, until

COOKIE: dict[str, Any] = {"action": "evaluate", "expression": "document.cookie"}
SAVE: dict[str, Any] = {"action": "save_profile"}


def login(pages: Pages) -> dict[str, Any]:
    return {"action": "evaluate", "expression": "document.cookie = 'who=ann; max-age=3600'"}


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

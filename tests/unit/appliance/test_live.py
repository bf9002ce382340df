"""A task in hand, as the journal has it."""

import time

from appliance.live import LiveTask, boot_s, now_ms
from appliance.planner import Intent
from cloudsync.task import Origin, TaskState
from tests.unit.appliance.engines import Engines, bash


async def test_a_task_comes_back_from_its_row(engines: Engines) -> None:
    engine = await engines.open()
    task_id = await engine.submit(bash("sleep 600", timeout_s=7.0, idempotent=True), created_by="ann")
    engine.executor.cancel(task_id, "bob")
    await engine.journal.committed([])
    (row,) = engine.journal.unfinished()
    task = LiveTask.from_row(row, engine.folder)
    assert (task.id, task.state, task.attempt, task.key) == (task_id, TaskState.RUNNING, 1, f"{task_id}.1")
    assert (task.origin, task.created_by) == (Origin.LOCAL, "ann")
    assert (task.intent, task.intent_by) == (Intent.CANCEL, "bob")
    assert task.folder == engine.folder.attempts / f"{task_id}.1"
    assert task.is_due
    running = task.as_running()
    assert (running.attempt, running.boot_id, running.is_idempotent, running.timeout_s) == (
        1,
        engine.executor.boot_id,
        True,
        7.0,
    )
    assert task.deadline_boot_s is None
    task.started_boot_s = 10.0
    assert task.deadline_boot_s == 17.0
    made = task.made_here()
    assert made is not None
    assert made.spec["command"] == "sleep 600"
    task.origin = Origin.HUB
    assert task.made_here() is None


def test_clocks_have_their_units() -> None:
    assert abs(now_ms() - time.time() * 1000) < 1000
    assert abs(boot_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1

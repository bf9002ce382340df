"""Browser tasks on hostile pages while browser, driver, runner, daemon and spawner are killed under them."""

import random

import pytest

from scripts.faults.browsing import TASKS_A_KILL, run
from tests.system.plant import Plant

TASKS = 300


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_kills_and_hostile_pages_leave_no_orphan_no_folder_and_no_task_without_its_story(
    bare_plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(10**6)
    result = run(bare_plant, seed=seed, tasks=TASKS, progress=lambda _: None)
    with capsys.disabled():
        print(f"\n{result.as_text()}")
    assert not result.breaches, f"seed {seed}"
    assert len(result.tasks) == TASKS
    assert len(result.blows) >= TASKS // TASKS_A_KILL - 1
    assert {task["state"] for task in result.tasks.values()} >= {"succeeded", "failed", "interrupted", "timed_out"}

"""What a task leaves running when it ends is ended too, whatever of the box is killed meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.plant import BoxProgram, Plant, wait_file
from tests.system.program import wait_until

# It ignores SIGTERM: between the end of its task and SIGKILL lies the grace, in which everything here is killed.
LEAVES = "setsid bash -c \"trap '' TERM; echo \\$\\$ > {pid}; exec sleep 600\" > /dev/null 2>&1 &\n"
UNTIL_LEFT = "until [ -s {pid} ]; do sleep 0.01; done\n"

ENDS = {
    "a small output": ({}, "echo small"),
    "an output that is cut": ({}, "head -c 600000 /dev/zero"),
    "a standard input": ({"stdin": "text"}, "cat"),
}


def kill_spawner(box: BoxProgram) -> None:
    box.kill_spawner()


def kill_daemon(box: BoxProgram) -> None:
    box.kill()
    box.start()


def kill_both(box: BoxProgram) -> None:
    box.kill()
    box.kill_spawner()
    box.start()


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("kill", [kill_spawner, kill_daemon, kill_both])
def test_what_outlives_its_task_is_ended_though(kill: Callable[[BoxProgram], None], kind: str, plant: Plant) -> None:
    box, pid = plant.boxes[0], plant.folder / "pid"
    fields, script = ENDS[kind]
    command = LEAVES.format(pid=pid) + UNTIL_LEFT.format(pid=pid) + script
    task = plant.api().run("box-1", command, wait_s=20, **fields)
    process = Path("/proc") / wait_file(pid).strip()
    assert process.exists(), "the grace was over before the kill"
    kill(box)
    wait_until("the end of what was left behind", lambda: not process.exists())
    assert task["state"] == "succeeded"
    wait_until("the end of its folder", lambda: not box.attempts())


@pytest.mark.parametrize("kill", [kill_spawner, kill_both])
def test_what_outlives_its_task_is_ended_though_nobody_heard_of_its_end(
    kill: Callable[[BoxProgram], None], plant: Plant
) -> None:
    box, pid = plant.boxes[0], plant.folder / "pid"
    box.kill()
    box.start()
    command = LEAVES.format(pid=pid) + UNTIL_LEFT.format(pid=pid) + "sleep 0.5"
    task = plant.api().run("box-1", command)
    process = Path("/proc") / wait_file(pid).strip()
    if kill is kill_both:
        box.kill()
        wait_until("the record of the end", lambda: any((folder / "exit").exists() for folder in box.attempts()))
        box.kill_spawner()
        box.start()
    else:
        wait_until("the record of the end", lambda: any((folder / "exit").exists() for folder in box.attempts()))
        kill(box)
    wait_until("the end of what was left behind", lambda: not process.exists())
    assert plant.wait_task(task["id"])["state"] == "succeeded"


def test_daemon_that_comes_back_leaves_the_spawner_and_its_other_tasks_alone(plant: Plant) -> None:
    box, pid, gate = plant.boxes[0], plant.folder / "pid", plant.folder / "gate"
    other = plant.api().run("box-1", f"until [ -e {gate} ]; do sleep 0.02; done; echo whole")
    plant.wait_task(other["id"], "running")
    spawner_pid = box.spawner_pid
    # The newest that was started: the spawner itself carries its stamp.
    last = plant.api().run("box-1", LEAVES.format(pid=pid) + UNTIL_LEFT.format(pid=pid) + "sleep 0.3")
    process = Path("/proc") / wait_file(pid).strip()
    box.kill()
    ended = box.data / "attempts" / f"{last['id']}.1" / "exit"
    wait_until("the record of the end", ended.exists)
    box.start()
    wait_until("the end of what was left behind", lambda: not process.exists())
    gate.touch()
    assert plant.wait_task(other["id"])["stdout"] == "whole\n"
    assert plant.wait_task(last["id"])["state"] == "succeeded"
    assert box.spawner_pid == spawner_pid

"""The plant that whole-system tests stand on."""

from tests.system.plant import Plant
from tests.system.program import wait_until


def test_task_runs_on_a_box_through_the_hub(plant: Plant) -> None:
    task = plant.api().run("box-1", "echo out; echo err >&2; exit 3", wait_s=20)
    assert (task["state"], task["exit_code"], task["stdout"], task["stderr"]) == ("failed", 3, "out\n", "err\n")


def test_close_ends_daemon_spawner_and_tasks(hub_plant: Plant) -> None:
    box = hub_plant.start_box("box-9")
    hub_plant.api().run("box-9", "exec sleep 600")
    wait_until("the task's process", lambda: any((folder / "started").exists() for folder in box.attempts()))
    assert box.spawner_pid is not None
    hub_plant.close()
    assert box.spawner_pid is None
    assert not box.is_running
    assert not hub_plant.hub.is_running


def test_hub_that_says_ready_takes_connections(bare_plant: Plant) -> None:
    bare_plant.hub.start()
    assert bare_plant.platform.ask("GET", "/healthz").status == 200

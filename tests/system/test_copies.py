"""Restarts, bursts, and copies: a box's journal or a hub's database that is older than what the other end knows."""

import shutil
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from tests.system.api import Unreachable
from tests.system.plant import BoxProgram, Plant, read_rows, wait_file
from tests.system.program import BIN, wait_until


def diary_task(diary: Path, name: str, then: str = "true") -> str:
    """A script that adds its name to the diary as its first act."""
    return f"echo {name} >> {diary}; {then}"


def runs(diary: Path) -> Counter[str]:
    """How often each name stands in the diary."""
    return Counter(diary.read_text().split() if diary.exists() else [])


def copy_database(database: Path, to: Path) -> None:
    """A copy of a database that nobody has open, with its log."""
    to.mkdir()
    for file in database.parent.glob(f"{database.name}*"):
        shutil.copy2(file, to / file.name)


def put_back(copy: Path, database: Path) -> None:
    """Let the copy be what the database is."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    for file in copy.iterdir():
        shutil.copy2(file, database.parent / file.name)


def copies_of(plant: Plant, box_id: str) -> list[dict[str, Any]]:
    """The copies that were shut out."""
    copies: list[dict[str, Any]] = plant.api("admin").get(f"boxes/{box_id}")["copies"]
    return copies


def release(plant: Plant, box_id: str, copy_id: str) -> None:
    """Let a copy begin anew, by the operator's command."""
    key = plant.api("admin").key or ""
    subprocess.run(
        [BIN / "operis", "--hub", plant.url, "--key", key, "release", box_id, copy_id],
        check=True,
        capture_output=True,
    )


def alerts(plant: Plant) -> list[str]:
    """What the hub noted itself, by kind."""
    query = "SELECT type FROM events WHERE incarnation = '' AND type != 'task' ORDER BY n"
    return [row["type"] for row in read_rows(plant.hub.database, query)]


def held_work(box: BoxProgram) -> bool:
    """Whether the box starts no task that the hub made."""
    return any("not started until the hub takes this box again" in warning for warning in box.status()["warnings"])


def test_task_goes_on_through_sigterm_of_the_daemon_and_its_whole_output_arrives(plant: Plant) -> None:
    box, api, diary = plant.boxes[0], plant.api(), plant.folder / "diary"
    script = diary_task(
        diary, "long", "for n in {1..400}; do echo line $n; sleep 0.005; done; echo end >> " + str(diary)
    )
    task = api.run("box-1", script)
    wait_file(diary)
    assert box.stop() == 0
    wait_until("the end of the task without a daemon", lambda: "end" in runs(diary))
    box.start()
    ended = plant.wait_task(task["id"])
    assert (ended["state"], ended["exit_code"]) == ("succeeded", 0)
    assert ended["stdout"] == "".join(f"line {n}\n" for n in range(1, 401))
    assert runs(diary) == {"long": 1, "end": 1}


def test_task_is_watched_again_by_the_daemon_that_is_started_while_it_runs(plant: Plant) -> None:
    box, diary, gate = plant.boxes[0], plant.folder / "diary", plant.folder / "gate"
    script = diary_task(diary, "long", f"until [ -e {gate} ]; do sleep 0.02; done; echo whole")
    task = plant.api().run("box-1", script)
    wait_file(diary)
    box.stop()
    box.start()
    assert plant.wait_task(task["id"], "running")["ended_at"] is None
    gate.touch()
    assert plant.wait_task(task["id"])["stdout"] == "whole\n"
    assert runs(diary) == {"long": 1}


def test_sigint_of_the_daemon_ends_its_tasks_as_interrupted(plant: Plant) -> None:
    box, diary = plant.boxes[0], plant.folder / "diary"
    task = plant.api().run("box-1", diary_task(diary, "long", "exec sleep 600"))
    wait_file(diary)
    assert box.stop(signal.SIGINT) == 130
    ended = plant.wait_task(task["id"])
    assert (ended["state"], ended["error"]["code"]) == ("interrupted", "stopped")


def test_hub_that_is_killed_in_the_middle_of_a_burst_makes_each_task_once(plant: Plant) -> None:
    diary, api = plant.folder / "diary", plant.api()
    count, killed_after = 120, 30
    answered: dict[int, str] = {}
    is_due = Event()

    def submit(number: int) -> None:
        body = {"kind": "bash.exec", "command": diary_task(diary, f"task-{number}")}
        while True:
            try:
                answer = api.ask("POST", "boxes/box-1/tasks", body, headers={"Idempotency-Key": f"burst-{number}"})
            except Unreachable:
                is_due.wait(0.02)
                continue
            assert answer.status in {200, 201, 202}, answer.data
            answered[number] = answer.json["id"]
            if len(answered) >= killed_after:
                is_due.set()
            return

    with ThreadPoolExecutor(8) as pool:
        submissions = [pool.submit(submit, number) for number in range(count)]
        assert is_due.wait(20)
        plant.hub.kill()
        plant.hub.start()
        for submission in submissions:
            submission.result()
    ended = [plant.wait_task(task_id) for task_id in answered.values()]
    assert Counter(task["state"] for task in ended) == {"succeeded": count}
    assert len(set(answered.values())) == count == len(api.items("tasks"))
    assert runs(diary) == {f"task-{number}": 1 for number in range(count)}


def test_rolled_back_journal_is_shut_out_until_an_operator_releases_it(plant: Plant) -> None:
    box, api, diary = plant.boxes[0], plant.api(), plant.folder / "diary"
    assert api.run("box-1", diary_task(diary, "before"), wait_s=20)["state"] == "succeeded"
    box.stop()
    copy_database(box.journal, plant.folder / "old")
    box.start()
    after = api.run("box-1", diary_task(diary, "after"), wait_s=20)
    box.stop()
    put_back(plant.folder / "old", box.journal)
    box.start()
    shown = plant.wait_status("box-1", "quarantined")
    assert shown["why"]
    wait_until("the box says that it holds the hub's work", lambda: held_work(box))
    waiting = api.run("box-1", diary_task(diary, "waiting"))
    assert (waiting["state"], waiting["delivery"]) == ("queued", "unsent")

    (copy,) = copies_of(plant, "box-1")
    release(plant, "box-1", copy["copy_id"])
    box.stop()
    box.start()
    plant.wait_status("box-1", "connected")
    assert plant.wait_task(waiting["id"])["state"] == "succeeded"
    assert api.get(f"tasks/{after['id']}")["state"] == "succeeded"
    assert runs(diary) == {"before": 1, "after": 1, "waiting": 1}
    assert alerts(plant) == ["quarantined", "new_incarnation"]
    assert not held_work(box)


def test_two_copies_of_one_box_are_noticed_and_the_released_one_goes_on(plant: Plant) -> None:
    box, api, diary = plant.boxes[0], plant.api(), plant.folder / "diary"
    assert api.run("box-1", diary_task(diary, "before"), wait_s=20)["state"] == "succeeded"
    box.stop()
    clone = plant.new_box("clone")
    shutil.copytree(box.data, clone.data, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    box.start()
    plant.wait_status("box-1", "connected")
    clone.start()
    plant.wait_status("box-1", "quarantined")
    waiting = api.run("box-1", diary_task(diary, "waiting"))
    # Asked again at once, not in a minute, so that this copy presents itself too.
    box.stop()
    box.start()
    copies = wait_until(
        "both copies were presented", lambda: found if len(found := copies_of(plant, "box-1")) == 2 else None
    )
    newest = max(copies, key=lambda one: int(one["copy_id"].split(".")[1]))
    release(plant, "box-1", newest["copy_id"])
    clone.stop()
    box.stop()
    box.start()
    plant.wait_status("box-1", "connected")
    assert plant.wait_task(waiting["id"])["state"] == "succeeded"

    clone.start()
    wait_until("the clone is shut out", lambda: clone.status()["link"]["state"] == "unwanted")
    assert held_work(clone)
    assert api.run("box-1", diary_task(diary, "last"), wait_s=20)["state"] == "succeeded"
    assert plant.wait_status("box-1", "connected")["id"] == "box-1"
    assert runs(diary) == {"before": 1, "waiting": 1, "last": 1}


def test_clone_of_a_running_box_gets_no_work_and_cannot_write(plant: Plant) -> None:
    box, api, diary, gate = plant.boxes[0], plant.api(), plant.folder / "diary", plant.folder / "gate"
    box.stop()
    clone = plant.new_box("clone")
    shutil.copytree(box.data, clone.data, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    box.start()
    plant.wait_status("box-1", "connected")
    task = api.run("box-1", diary_task(diary, "held", f"until [ -e {gate} ]; do sleep 0.02; done"))
    wait_file(diary)
    clone.start()
    plant.wait_status("box-1", "quarantined")
    for _ in range(20):
        api.run("box-1", diary_task(diary, "later"))
    gate.touch()
    wait_until("the outcome on the box", lambda: box.status()["queue"]["running"] == 0)
    assert api.get(f"tasks/{task['id']}")["state"] == "running"
    assert runs(diary) == {"held": 1}


def test_hub_restored_from_an_older_copy_learns_what_the_box_holds_and_goes_on(plant: Plant) -> None:
    hub, api, diary, gate = plant.hub, plant.api(), plant.folder / "diary", plant.folder / "gate"
    before = api.run("box-1", diary_task(diary, "before"), wait_s=20)
    hub.stop()
    copy_database(hub.database, plant.folder / "old")
    hub.start()
    plant.wait_status("box-1", "connected")
    forgotten = [
        api.run("box-1", diary_task(diary, f"forgotten-{number}", f"echo {number}"), wait_s=20) for number in range(5)
    ]
    running = api.run("box-1", diary_task(diary, "running", f"until [ -e {gate} ]; do sleep 0.02; done; echo whole"))
    wait_until("the task runs", lambda: runs(diary)["running"])
    plant.wait_task(running["id"], "running")
    hub.kill()
    put_back(plant.folder / "old", hub.database)
    hub.start()
    plant.wait_status("box-1", "connected")
    for number, task in enumerate(forgotten):
        found = wait_until(f"{task['id']} is known again", partial(known, plant, task["id"]))
        assert (found["state"], found["stdout"]) == ("succeeded", f"{number}\n")
    gate.touch()
    wait_until("the running task is known again", lambda: known(plant, running["id"]))
    assert plant.wait_task(running["id"])["stdout"] == "whole\n"
    new = api.run("box-1", diary_task(diary, "new", "echo new"), wait_s=20)
    assert (new["state"], new["stdout"]) == ("succeeded", "new\n")
    assert api.get(f"tasks/{before['id']}")["state"] == "succeeded"
    assert alerts(plant) == ["hub_restored"]
    assert set(runs(diary).values()) == {1}
    seqs = [row["seq"] for row in read_rows(hub.database, "SELECT seq FROM events WHERE seq > 0 ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1))


def test_hub_restored_with_unsent_and_unacked_commands_starts_nothing_twice(plant: Plant) -> None:
    hub, box, api, diary = plant.hub, plant.boxes[0], plant.api(), plant.folder / "diary"
    box.stop()
    tasks = [api.run("box-1", diary_task(diary, f"task-{number}")) for number in range(20)]
    hub.stop()
    copy_database(hub.database, plant.folder / "old")
    hub.start()
    box.start()
    for task in tasks:
        assert plant.wait_task(task["id"])["state"] == "succeeded"
    hub.kill()
    put_back(plant.folder / "old", hub.database)
    hub.start()
    plant.wait_status("box-1", "connected")
    for task in tasks:
        assert plant.wait_task(task["id"])["state"] == "succeeded"
    assert api.run("box-1", diary_task(diary, "new"), wait_s=20)["state"] == "succeeded"
    assert runs(diary) == {**{f"task-{number}": 1 for number in range(20)}, "new": 1}


def known(plant: Plant, task_id: str) -> Any:
    """The task, where the hub knows it and it has begun."""
    answer = plant.api().ask("GET", f"tasks/{task_id}")
    return answer.json if answer.status == 200 else None

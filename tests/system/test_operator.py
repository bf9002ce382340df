"""The `operis` command against a real hub and box."""

import base64
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.api import Api
from tests.system.command import Operator
from tests.system.plant import Plant, wait_file
from tests.system.program import wait_until


@pytest.fixture
def operis(shared_plant: Plant) -> Operator:
    return Operator(shared_plant)


def newest_task(plant: Plant) -> Any:
    return plant.api().get("tasks?limit=1")["items"][0]


def follow(api: Api, task_id: str, query: str = "") -> list[tuple[str, Any]]:
    """The events of a task's output, read to the end."""
    answer = api.ask("GET", f"tasks/{task_id}/output?follow=1{query}")
    assert answer.status == 200, answer.data
    events = []
    for block in answer.data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


def wait_line(file: Path, number: int) -> None:
    """Until the task has written this line."""

    def is_there() -> bool:
        words = wait_file(file).split()
        return bool(words) and int(words[0]) >= number

    wait_until(f"line {number}", is_there)


def test_output_is_the_tasks_bytes_and_the_status_its_own(operis: Operator) -> None:
    done = operis("run", "box-1", "--", r"printf 'a\377\000b'; printf 'err\n' >&2; exit 42")
    assert (done.status, done.out, done.err) == (42, b"a\xff\x00b", "err\n")


def test_several_words_are_one_command(operis: Operator) -> None:
    assert operis("run", "box-1", "--", "printf", "%s|", "a b", "$HOME", "'").text == "a b|$HOME|'|"


def test_stdin_env_and_cwd_reach_the_task(operis: Operator) -> None:
    flags = ["--stdin", "-", "--env", "A=x y", "--cwd", "/usr"]
    done = operis("run", "box-1", *flags, "--", 'cat; echo "$A"; pwd', given="\N{EURO SIGN}\n".encode())
    assert (done.status, done.text) == (0, "\N{EURO SIGN}\nx y\n/usr\n")


def test_timeout_is_124_and_says_so(operis: Operator) -> None:
    done = operis("run", "box-1", "--timeout", "0.5", "--", "echo begun; sleep 60")
    assert (done.status, done.text) == (124, "begun\n")
    assert "timed out" in done.err
    assert done.err.count("\n") == 2


def test_what_a_box_cannot_do_is_255_with_a_hint(operis: Operator) -> None:
    done = operis("run", "box-1", "--cwd", "/no/such/folder", "--", "true")
    assert done.status == 255
    assert "/no/such/folder" in done.err
    assert "hint: " in done.err


def test_output_comes_while_the_task_runs(operis: Operator, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo first; until [ -e {gate} ]; do sleep 0.05; done; echo second"
    process = operis.start("run", "box-1", "--", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    gate.touch()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"second\n", b"")


def test_ctrl_c_leaves_the_task_which_can_be_followed_and_cancelled(
    operis: Operator, shared_plant: Plant, tmp_path: Path
) -> None:
    process = operis.start("run", "box-1", "--", f"echo up; echo $$ >{tmp_path}/pid; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 255
    task_id = newest_task(shared_plant)["id"]
    assert f"task {task_id} goes on on box-1".encode() in err
    assert f"operis cancel {task_id}".encode() in err
    assert shared_plant.api().get(f"tasks/{task_id}")["state"] == "running"
    follower = operis.start("logs", task_id, "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"up\n"
    done = operis("cancel", task_id)
    assert (done.status, done.text) == (0, f"task {task_id} is running: box-1 is told to end it\n")
    out, _ = follower.communicate(timeout=20)
    assert (follower.returncode, out) == (0, b"")
    assert shared_plant.wait_task(task_id)["state"] == "cancelled"
    assert operis("cancel", task_id).text == f"task {task_id} is cancelled\n"


def test_ctrl_c_that_cancels_ends_the_task(operis: Operator, shared_plant: Plant) -> None:
    process = operis.start("run", "box-1", "--cancel-on-interrupt", "--", "echo up; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 255
    assert shared_plant.wait_task(newest_task(shared_plant)["id"])["state"] == "cancelled"


def test_detached_task_is_found_again(operis: Operator, shared_plant: Plant) -> None:
    task_id = operis("run", "box-1", "--detach", "--", "echo later; echo oops >&2").text.strip()
    shared_plant.wait_task(task_id)
    assert operis("logs", task_id).out == b"later\n"
    assert operis("logs", task_id, "--stream", "stderr").err == "oops\n"
    text = operis("task", task_id).text
    for word in ("queued", "delivered", "accepted", "started", "ended", "in the ledger", "in all", "later", "oops"):
        assert word in text
    assert json.loads(operis("task", task_id, "--json").text) == shared_plant.api().get(f"tasks/{task_id}")
    assert task_id in operis("tasks", "--box", "box-1", "--state", "succeeded").text
    listed = json.loads(operis("tasks", "--all", "--json").text)["items"]
    assert task_id in [task["id"] for task in listed]


def test_boxes_and_fleet_are_shown(operis: Operator) -> None:
    assert operis("boxes").text.splitlines()[1].split()[:2] == ["box-1", "connected"]
    assert "memory total" in operis("box", "box-1").text
    assert json.loads(operis("boxes", "--json").text)["items"][0]["id"] == "box-1"
    assert json.loads(operis("fleet", "--json").text)["boxes"]["connected"] == 1
    assert operis("boxes", "--status", "revoked").err == "none\n"


def test_events_tell_what_became_of_a_task(operis: Operator, shared_plant: Plant) -> None:
    task_id = operis("run", "box-1", "--detach", "--", "exit 7").text.strip()
    shared_plant.wait_task(task_id)
    done = operis("events", "--task", task_id, "--after", "0", "--limit", "2")
    assert [line.split()[4] for line in done.text.splitlines()] == ["running", "failed"]
    assert done.text.count(f"task {task_id}") == 2


def test_viewer_sees_and_does_not_run(shared_plant: Plant) -> None:
    viewer = Operator(shared_plant, "viewer")
    assert viewer("boxes").status == 0
    done = viewer("run", "box-1", "--", "true")
    assert done.status == 255
    assert "operator" in done.err
    assert viewer.key not in done.err


def test_box_that_is_away_is_said_and_waited_for(plant: Plant) -> None:
    operis = Operator(plant)
    box = plant.boxes[0]
    box.stop(signal.SIGINT)
    process = operis.start("run", "box-1", "--", "echo at last; exit 4")
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    assert line.startswith("operis: queued: box-1 not connected for ")
    box.start()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (4, b"at last\n")
    assert b"Traceback" not in err


def test_task_that_is_sent_and_not_confirmed_is_said_to_be(plant: Plant) -> None:
    operis = Operator(plant)
    box = plant.boxes[0]
    box.send(signal.SIGSTOP)
    process = operis.start("run", "box-1", "--", "true")
    assert process.stderr is not None
    assert process.stderr.readline() == b"operis: sent, unconfirmed\n"
    box.send(signal.SIGCONT)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_task_nobody_takes_in_time_is_expired(plant: Plant) -> None:
    plant.boxes[0].stop(signal.SIGINT)
    done = Operator(plant)("run", "box-1", "--deliver-within", "1", "--", "true")
    assert done.status == 255
    assert "expired" in done.err
    assert "hint: " in done.err


def test_hub_killed_under_a_run_costs_no_byte_and_repeats_none(plant: Plant, tmp_path: Path) -> None:
    operis = Operator(plant)
    script = f"for i in $(seq 60); do echo line $i; echo $i >{tmp_path}/at; sleep 0.1; done; exit 9"
    process = operis.start("run", "box-1", "--", script)
    for after in (10, 30):
        wait_line(tmp_path / "at", after)
        plant.hub.kill()
        plant.hub.start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert out.decode().splitlines() == [f"line {i}" for i in range(1, 61)]
    assert b"Traceback" not in err


def test_follower_that_comes_again_gets_what_it_lacks(shared_plant: Plant) -> None:
    api = shared_plant.api()
    task = api.run("box-1", "printf 0123456789; printf abc >&2", wait_s=20)
    (first, out), (last, end) = follow(api, task["id"], "&from_stdout=4&from_stderr=3")
    assert (first, last) == ("output", "end")
    assert (out["stream"], out["offset"], base64.b64decode(out["data_b64"])) == ("stdout", 4, b"456789")
    assert end["task"]["id"] == task["id"]


def test_follower_of_a_cut_output_gets_a_gap_and_no_byte_of_another_place(shared_plant: Plant) -> None:
    api = shared_plant.api()
    task = api.run("box-1", "seq 100000", wait_s=20)
    assert task["truncated"]
    written = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    events = follow(api, task["id"], "&from_stdout=10")
    assert [name for name, _ in events] == ["output", "gap", "output", "end"]
    (_, head), (_, gap), (_, tail), _ = events
    first, last = (base64.b64decode(piece["data_b64"]) for piece in (head, tail))
    assert (head["offset"], gap) == (10, {"stream": "stdout", "from": 10 + len(first), "to": tail["offset"]})
    assert (first, last) == (written[10 : gap["from"]], written[gap["to"] :])


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "10000000000000"])
def test_offset_that_is_none_is_refused(shared_plant: Plant, value: str) -> None:
    api = shared_plant.api()
    task = api.run("box-1", "true", wait_s=20)
    answer = api.ask("GET", f"tasks/{task['id']}/output?follow=1&from_stderr={value}")
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "from_stderr"


def test_offsets_are_described(shared_plant: Plant) -> None:
    described = shared_plant.api().ask("GET", "/openapi.json").json["paths"]["/api/v1/tasks/{task_id}/output"]
    names = {one["name"] for one in described["get"]["parameters"]}
    assert {"from_stdout", "from_stderr"} <= names


def test_commands_start_fast_enough_to_be_typed(operis: Operator) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert operis("boxes").status == 0
        took.append(time.monotonic() - began)
    # A quarter of a second on an idle machine; here others may work too.
    assert min(took) < 1.0

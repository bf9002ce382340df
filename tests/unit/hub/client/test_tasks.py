"""The commands about tasks."""

import base64
import json

import pytest

from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import TASK_ID, Peer, Reply, a_box, a_task, as_json, ended, event, page, stream

OUTPUT = f"tasks/{TASK_ID}/output"


def test_tasks_are_a_table_of_what_came_of_them(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page(ended(), ended("timed_out", 143, id="t-2"), a_task(id="t-3", delivery="sent")))
    lines = operis("tasks").text.splitlines()
    assert lines[0].split() == ["TASK", "BOX", "STATE", "EXIT", "AGE", "RAN", "COMMAND"]
    assert lines[1].split()[:4] == ["t-1", "box-1", "succeeded", "0"]
    assert lines[1].endswith("500 ms  echo hi")
    assert lines[2].split()[2:5] == ["timed", "out", "143"]
    assert lines[3].split()[2:4] == ["sent", "-"]


def test_filters_are_the_apis(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page())
    operis("tasks", "--box", "box-1", "--state", "failed", "--origin", "hub")
    assert peer.requests[0].query == {"box_id": "box-1", "state": "failed", "origin": "hub"}


def test_command_of_many_lines_is_one_line_of_the_table(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page(a_task(spec={"command": "for i in 1\ndo\n\techo $i\ndone\x1b[2J"})))
    assert operis("tasks").text.splitlines()[1].endswith("for i in 1 do echo $i done\ufffd[2J")


def test_task_shows_where_its_time_went(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended("failed", 3, stdout="out\n", stderr="err\n")))
    lines = operis("task", TASK_ID).text.splitlines()
    assert "state    failed, exit code 3" in lines
    assert "limits   delivered within 1 d, ended within 1 min" in lines
    assert [line.split()[0::3] for line in lines if "03:04:05" in line and " +" in line] == [
        ["delivered", "+10"],
        ["accepted", "+2"],
        ["started", "+3"],
        ["ended", "+500"],
        ["in", "2026-01-02", "ms"],
    ]
    assert any(line.split() == ["in", "all", "520", "ms"] for line in lines)
    assert lines[-5:] == ["stdout:", "out", "", "stderr:", "err"]


def test_task_that_waits_says_for_what(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(a_task()))
    peer.tell("GET", "boxes/box-1", as_json(a_box(status="never")))
    assert "waits    queued: box-1 has never connected" in operis("task", TASK_ID).text


def test_error_of_a_task_is_shown_with_its_hint(operis: Operis, peer: Peer) -> None:
    error = {"code": "working_folder", "message": "there is no /x", "hint": "make it"}
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended("failed", None, error=error)))
    text = operis("task", TASK_ID).text
    assert "error    there is no /x (working_folder)" in text
    assert "hint     make it" in text
    assert json.loads(operis("task", TASK_ID, "--json").text)["error"] == error


@pytest.mark.parametrize(
    ("task", "box", "says"),
    [
        (ended("cancelled", None), a_box(), "task t-1 is cancelled"),
        (ended(), a_box(), "task t-1 had ended before: succeeded"),
        (a_task(state="running"), a_box(), "task t-1 is running: box-1 is told to end it"),
        (a_task(delivery="sent"), a_box(status="lost"), "box-1 not connected for"),
    ],
)
def test_cancel_says_what_it_came_to(
    operis: Operis, peer: Peer, task: dict[str, object], box: dict[str, object], says: str
) -> None:
    peer.tell("POST", f"tasks/{TASK_ID}/cancel", as_json(task))
    peer.tell("GET", "boxes/box-1", as_json(box))
    done = operis("cancel", TASK_ID)
    assert done.status == 0
    assert says in done.text


def test_logs_are_the_exact_bytes_of_both_streams_or_one(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended()))
    peer.tell("GET", OUTPUT, Reply(200, b"\xff\x00out"), Reply(200, b"err"), Reply(200, b"err"))
    done = operis("logs", TASK_ID)
    assert (done.status, done.out, done.err) == (0, b"\xff\x00out", "err")
    assert operis("logs", TASK_ID, "--stream", "stderr").err == "err"
    assert [one.query["stream"] for one in peer.asked("GET", OUTPUT)] == ["stdout", "stderr", "stderr"]


def test_logs_say_that_an_output_is_cut(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended()))
    peer.tell("GET", OUTPUT, Reply(200, b"head tail", {"Operis-Truncated": "true"}), Reply(200, b""))
    done = operis("logs", TASK_ID)
    assert done.out == b"head tail"
    assert done.err.startswith("operis: stdout is cut")


def test_logs_follow_a_running_task_and_end_with_0(operis: Operis, peer: Peer) -> None:
    data = base64.b64encode(b"live\n").decode()
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(a_task(state="running")))
    out = event("output", {"stream": "stdout", "offset": 0, "data_b64": data})
    err = event("output", {"stream": "stderr", "offset": 0, "data_b64": data})
    peer.tell("GET", OUTPUT, stream(out, err, event("end", {"task": ended("failed", 9)})))
    done = operis("logs", TASK_ID, "-f", "--stream", "stdout")
    assert (done.status, done.out, done.err) == (0, b"live\n", "")


def test_logs_as_json_are_text_and_exact_bytes_of_each_stream(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended()))
    peer.tell("GET", OUTPUT, Reply(200, b"\xffout"), Reply(200, b"err", {"Operis-Truncated": "true"}))
    done = operis("logs", TASK_ID, "--json")
    shown = json.loads(done.out)
    assert (done.status, done.err) == (0, "")
    assert base64.b64decode(shown["stdout_b64"]) == b"\xffout"
    assert (shown["task_id"], shown["stdout"], shown["stderr"]) == (TASK_ID, "\ufffdout", "err")
    assert shown["truncated"] is True


def test_logs_as_json_wait_for_the_end_where_they_follow(operis: Operis, peer: Peer) -> None:
    data = base64.b64encode(b"live\n").decode()
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(a_task(state="running")))
    out = event("output", {"stream": "stdout", "offset": 0, "data_b64": data})
    peer.tell("GET", OUTPUT, stream(out, event("end", {"task": ended("failed", 9)})), Reply(200, b"live\n"))
    done = operis("logs", TASK_ID, "-f", "--json", "--stream", "stdout")
    assert json.loads(done.out)["stdout"] == "live\n"
    assert "stderr" not in json.loads(done.out)

"""`operis run`: what it hands over, and how it ends."""

import base64
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import (
    TASK_ID,
    Peer,
    a_box,
    a_task,
    as_json,
    ended,
    event,
    page,
    problem,
    stream,
)

Start = Callable[..., "subprocess.Popen[bytes]"]


def output(data: bytes, offset: int = 0, name: str = "stdout") -> bytes:
    return event("output", {"stream": name, "offset": offset, "data_b64": base64.b64encode(data).decode()})


def the_end(task: dict[str, Any]) -> bytes:
    return event("end", {"task": task})


def body_of(peer: Peer) -> Any:
    return peer.asked("POST", "boxes/box-1/tasks")[0].json


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["echo $HOME; ls"], "echo $HOME; ls"),
        (["ls", "-l", "a b", "$HOME"], "ls -l 'a b' '$HOME'"),
        (["--", "-x"], "-- -x"),
        (["run", "--json"], "run --json"),
    ],
)
def test_one_word_is_a_script_and_several_are_a_command(
    operis: Operis, peer: Peer, words: list[str], command: str
) -> None:
    peer.tell_run(stream(the_end(ended())))
    assert operis("run", "box-1", "--", *words).status == 0
    assert body_of(peer) == {"kind": "bash.exec", "command": command}


def test_flags_become_fields(operis: Operis, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("line\n")
    peer.tell_run(stream(the_end(ended())))
    flags = ["--timeout", "5", "--deliver-within", "60", "--stdin", str(tmp_path / "in"), "--cwd", "/var/tmp"]
    operis("run", "box-1", *flags, "--env", "A=1", "--env", "B=x=y", "--idempotent", "--", "ls")
    assert body_of(peer) == {
        "kind": "bash.exec",
        "command": "ls",
        "timeout_s": 5.0,
        "deliver_within_s": 60.0,
        "stdin": "line\n",
        "cwd": "/var/tmp",
        "env": {"A": "1", "B": "x=y"},
        "idempotent": True,
    }


@pytest.mark.parametrize(
    ("task", "status", "says"),
    [
        (ended(), 0, ""),
        (ended("failed", 3), 3, ""),
        (ended("failed", 137), 137, ""),
        (
            ended("timed_out", 143, error={"code": "t", "message": "ended after 1 s", "hint": "longer"}),
            124,
            "timed out",
        ),
        (ended("failed", None, error={"code": "c", "message": "no folder", "hint": "mend it"}), 255, "no folder"),
        (ended("expired", None, error={"code": "e", "message": "not reached", "hint": "later"}), 255, "expired"),
        (ended("rejected", None, error={"code": "r", "message": "disk full", "hint": "free"}), 255, "disk full"),
        (ended("cancelled", None), 255, "cancelled"),
        (ended("interrupted", None, error={"code": "i", "message": "power", "hint": "again"}), 255, "power"),
    ],
)
def test_exit_status_is_the_tasks_own_or_ours(
    operis: Operis, peer: Peer, task: dict[str, Any], status: int, says: str
) -> None:
    peer.tell_run(stream(output(b"out\n"), output(b"err\n", name="stderr"), the_end(task)))
    done = operis("run", "box-1", "--", "x")
    assert (done.status, done.out) == (status, b"out\n")
    assert done.err.startswith("err\n")
    said = done.err.removeprefix("err\n")
    assert says in said
    assert said.count("\n") <= 2
    assert (said == "") is (says == "")


def test_task_is_made_once_however_often_it_is_sent(operis: Operis, peer: Peer) -> None:
    peer.tell_run(stream(the_end(ended())))
    peer.tell("POST", "boxes/box-1/tasks", None, None, as_json(a_task(), 201))
    assert operis("run", "box-1", "--", "x").status == 0
    keys = {one.headers["Idempotency-Key"] for one in peer.asked("POST", "boxes/box-1/tasks")}
    assert len(peer.asked("POST", "boxes/box-1/tasks")) == 3
    assert len(keys) == 1
    peer.tell("POST", "boxes/box-1/tasks", as_json(a_task(), 201))
    operis("run", "box-1", "--", "x")
    assert peer.asked("POST", "boxes/box-1/tasks")[-1].headers["Idempotency-Key"] not in keys


def test_hub_that_never_answers_is_given_up_on(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/box-1/tasks", None)
    done = operis("run", "box-1", "--", "x")
    assert done.status == 255
    assert peer.place in done.err
    assert len(peer.asked("POST", "boxes/box-1/tasks")) == 3


def test_refusal_is_not_sent_again(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/box-1/tasks", problem(403, "this needs the role operator", hint="use another key"))
    done = operis("run", "box-1", "--", "x")
    assert (done.status, done.err) == (255, "operis: this needs the role operator\nhint: use another key\n")
    assert len(peer.requests) == 1


def test_unknown_box_names_those_that_look_like_it(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/bx-1/tasks", problem(404, "there is no box 'bx-1'"))
    peer.tell("GET", "boxes", page(a_box("box-1"), a_box("other")))
    done = operis("run", "bx-1", "--", "x")
    assert done.status == 255
    assert "did you mean box-1?" in done.err


def test_fields_that_are_wrong_are_said_by_their_flags(operis: Operis, peer: Peer) -> None:
    errors = [
        {"field": "timeout_s", "message": "Input should be greater than 0"},
        {"field": "env.A-B.[key]", "message": "Value error, no name"},
    ]
    peer.tell("POST", "boxes/box-1/tasks", problem(422, "the body: timeout_s: no", errors=errors))
    done = operis("run", "box-1", "--timeout", "-1", "--", "x")
    assert done.status == 255
    assert done.err.splitlines() == [
        "operis: --timeout: should be greater than 0; --env A-B: no name",
        "hint: 'operis run --help' shows what is allowed",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["box-1"], "no command is given"),
        (["box-1", "--"], "no command is given"),
        (["box-1", "--", " "], "no command is given"),
        (["box-1", "--env", "A", "--", "x"], "--env 'A' is not NAME=VALUE"),
        (["box-1", "--env", "=1", "--", "x"], "is not NAME=VALUE"),
        (["box-1", "--stdin", "/no/such/file", "--", "x"], "--stdin /no/such/file cannot be read"),
        (["box-1", "--stdin", "/", "--", "x"], "--stdin / cannot be read"),
        (["box-1", "--timeout", "soon", "--", "x"], "--timeout"),
        (["box-1", "--bogus", "--", "x"], "--bogus"),
        (["../x", "--", "x"], "'../x' is no id of a box"),
        ([], "BOX"),
        (["box-1", "--", "\udcff"], "not valid UTF-8"),
    ],
)
def test_command_line_that_is_wrong_is_255_and_asks_the_hub_nothing(
    operis: Operis, peer: Peer, arguments: list[str], says: str
) -> None:
    done = operis("run", *arguments)
    assert (done.status, done.out, peer.requests) == (255, b"", [])
    assert says in done.err
    assert done.err.count("\n") == 2
    assert "hint: " in done.err


def test_input_that_is_no_text_is_refused_with_a_way(operis: Operis, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"ab\xff")
    done = operis("run", "box-1", "--stdin", str(tmp_path / "in"), "--", "x")
    assert done.status == 255
    assert "not valid UTF-8 (byte 2)" in done.err
    assert "base64" in done.err


def test_detached_run_prints_the_id_and_does_not_wait(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/box-1/tasks", as_json(a_task(), 201))
    for flag in ("--detach", "--no-wait"):
        assert operis("run", "box-1", flag, "--", "x").text == f"{TASK_ID}\n"
    assert '"state": "queued"' in operis("run", "box-1", "--detach", "--json", "--", "x").text


def test_json_is_the_task_alone_and_the_status_stays(operis: Operis, peer: Peer) -> None:
    peer.tell_run(stream(output(b"out\n"), the_end(ended("failed", 7, stdout="out\n"))))
    done = operis("run", "box-1", "--json", "--", "x")
    assert done.status == 7
    assert done.text.startswith('{"id": "t-1"')
    assert done.text.count("\n") == 1


@pytest.mark.parametrize("cancel", [False, True])
def test_ctrl_c_says_what_becomes_of_the_task(start: Start, peer: Peer, cancel: bool) -> None:
    leave = threading.Event()
    peer.tell_run(stream(output(b"first\n"), lambda: leave.wait(20)), task=a_task(state="running"))
    peer.tell("POST", f"tasks/{TASK_ID}/cancel", as_json(a_task(state="running")))
    process = start("run", "box-1", *(["--cancel-on-interrupt"] if cancel else []), "--", "x")
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    leave.set()
    assert process.returncode == 255
    assert b"Traceback" not in err
    assert (b"is being cancelled" if cancel else b"task t-1 goes on on box-1") in err
    assert f"operis {'task' if cancel else 'logs'} {TASK_ID}".encode() in err
    assert len(peer.asked("POST", f"tasks/{TASK_ID}/cancel")) == int(cancel)


def test_ctrl_c_before_the_hub_answers_says_how_to_look(start: Start, peer: Peer) -> None:
    came, leave = threading.Event(), threading.Event()
    slow = stream(came.set, lambda: leave.wait(20))
    peer.tell("POST", "boxes/box-1/tasks", slow)
    process = start("run", "box-1", "--", "x")
    assert came.wait(20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    leave.set()
    assert process.returncode == 255
    assert b"Traceback" not in err
    assert b"operis tasks" in err


def test_reader_that_leaves_ends_the_run_and_not_the_task(start: Start, peer: Peer) -> None:
    go = threading.Event()
    many = [output(b"x" * 60_000 + b"\n", 60_001 * number + 2) for number in range(40)]
    peer.tell_run(stream(output(b"1\n"), lambda: go.wait(20), *many, the_end(ended())), task=a_task(state="running"))
    process = start("run", "box-1", "--", "x")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"1\n"
    process.stdout.close()
    go.set()
    err = process.stderr.read()
    assert process.wait(20) == 255
    assert b"task t-1 goes on" in err
    assert b"Traceback" not in err
    assert b"Exception" not in err

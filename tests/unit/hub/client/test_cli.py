"""What an operator types, and how it ends: two lines of an error at most, the right status, never a traceback."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

import pytest

from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import KEY, Peer, Reply, a_box, a_task, as_json, page, problem

COMMANDS = {
    "boxes": ["boxes"],
    "box": ["box", "box-1"],
    "run": ["run", "box-1", "--", "ls"],
    "tasks": ["tasks"],
    "task": ["task", "t-1"],
    "cancel": ["cancel", "t-1"],
    "logs": ["logs", "t-1"],
    "events": ["events"],
    "fleet": ["fleet"],
    "release": ["release", "box-1", "c-1"],
    "revoke": ["revoke", "box-1"],
}


def status_of(command: str, otherwise: int = 1) -> int:
    return 255 if command == "run" else otherwise


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "COMMAND"),
        (["frobnicate"], 2, "frobnicate"),
        (["boxes", "extra"], 2, "unrecognized arguments: extra"),
        (["boxes", "--bogus=secret"], 2, "unrecognized arguments: --bogus"),
        (["--bogus", "boxes"], 2, "--bogus"),
        (["boxes", "--status", "happy"], 2, "connected"),
        (["boxes", "--limit", "many"], 2, "'many' is not a whole number"),
        (["boxes", "--limit", "0"], 2, "'0' is not 1 or more"),
        (["boxes", "--limit", "-1"], 2, "not a whole number"),
        (["boxes", "--all", "--cursor", "1"], 2, "not allowed with"),
        (["boxes", "--", "ls"], 2, "takes nothing after --"),
        (["tasks", "--state", "lost"], 2, "timed_out"),
        (["box"], 2, "BOX"),
        (["box", ""], 2, "no id of a box"),
        (["task", "a/b"], 2, "no id of a task"),
        (["logs", "t-1", "--stream", "stdin"], 2, "stdout"),
        (["events", "--after", "x"], 2, "not a whole number"),
        (["release", "box-1"], 2, "COPY"),
        (["box", "\udcff"], 2, "not valid UTF-8"),
        (["run", "box-1", "--jsno", "--", "ls"], 255, "--jsno"),
    ],
)
def test_wrong_command_line_is_said_in_two_lines(
    operis: Operis, peer: Peer, arguments: list[str], status: int, says: str
) -> None:
    done = operis(*arguments)
    assert (done.status, done.out, peer.requests) == (status, b"", [])
    assert says in done.err
    assert "secret" not in done.err
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == ["operis", "hint"]


@pytest.mark.parametrize("name", COMMANDS)
def test_hub_and_key_must_be_given(operis: Operis, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("OPERIS_KEY")
    done = operis(*COMMANDS[name])
    assert (done.status, done.out) == (status_of(name, 2), b"")
    assert "--key K or set OPERIS_KEY" in done.err
    monkeypatch.delenv("OPERIS_HUB")
    assert "--hub URL or set OPERIS_HUB" in operis(*COMMANDS[name]).err


@pytest.mark.parametrize("place", [["--hub", "{}", "--key", KEY, "fleet"], ["fleet", "--key", KEY, "--hub", "{}"]])
def test_hub_and_key_may_stand_before_or_after_the_command(
    operis: Operis, peer: Peer, monkeypatch: pytest.MonkeyPatch, place: list[str]
) -> None:
    monkeypatch.setenv("OPERIS_HUB", "http://127.0.0.1:1")
    monkeypatch.setenv("OPERIS_KEY", "another")
    peer.tell("GET", "fleet", as_json({"boxes": {"connected": 1}, "tasks": {}}))
    assert operis(*(word.format(peer.url) for word in place)).status == 0
    assert peer.requests[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("name", COMMANDS)
def test_hub_that_is_down_is_said_by_every_command(operis: Operis, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("OPERIS_HUB", f"http://{place}")
    done = operis(*COMMANDS[name])
    assert (done.status, done.out) == (status_of(name), b"")
    assert f"connection refused by {place}" in done.err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_said_by_every_command(operis: Operis, peer: Peer, name: str, status: int) -> None:
    refusal = problem(status, "the key will not do", hint="use another key")
    for method, path in (
        ("GET", "boxes"),
        ("GET", "boxes/box-1"),
        ("POST", "boxes/box-1/tasks"),
        ("GET", "tasks"),
        ("GET", "tasks/t-1"),
        ("POST", "tasks/t-1/cancel"),
        ("GET", "events"),
        ("GET", "fleet"),
        ("POST", "boxes/box-1/release"),
        ("POST", "boxes/box-1/revoke"),
    ):
        peer.tell(method, path, refusal)
    done = operis(*COMMANDS[name])
    assert (done.status, done.out) == (status_of(name), b"")
    assert done.err == "operis: the key will not do\nhint: use another key\n"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("answer", [{"hello": "world"}, {"items": "no", "id": 5, "boxes": 3}])
def test_json_of_another_service_is_no_hub_for_every_command(
    operis: Operis, peer: Peer, name: str, answer: object
) -> None:
    strange = as_json(answer)
    for path in ("boxes", "boxes/box-1", "tasks", "tasks/t-1", "events", "fleet"):
        peer.tell("GET", path, strange)
    for path in ("boxes/box-1/tasks", "tasks/t-1/cancel", "boxes/box-1/release", "boxes/box-1/revoke"):
        peer.tell("POST", path, strange)
    done = operis(*COMMANDS[name])
    assert (done.status, done.out) == (status_of(name), b"")
    assert "this is no Operis hub" in done.err
    assert done.err.count("\n") == 2


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_help_names_every_flag_on_80_columns(operis: Operis, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = operis(*([name] if name else []), "--help")
    assert done.status == 0
    assert all(len(line) <= 80 for line in done.text.splitlines())
    if not name:
        assert all(re.search(rf"^ +{command} ", done.text, re.MULTILINE) for command in COMMANDS)


def test_version_is_printed(operis: Operis) -> None:
    assert re.fullmatch(r"operis \d+\.\d+\.\d+\S*\n", operis("--version").text)


@pytest.mark.parametrize(("arguments", "begins"), [(["tasks"], b"TASK"), (["tasks", "--all", "--json"], b'{"items"')])
def test_reader_that_leaves_a_list_is_no_error_with_a_traceback(
    start: Callable[..., "subprocess.Popen[bytes]"], peer: Peer, arguments: list[str], begins: bytes
) -> None:
    many = [a_task(id=f"t-{number}", spec={"command": "x" * 150}) for number in range(2000)]
    peer.tell("GET", "tasks", page(*many))
    process = start(*arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10).startswith(begins)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 1


def test_reader_that_left_before_the_first_line_is_no_error_with_a_traceback(
    start: Callable[..., "subprocess.Popen[bytes]"], peer: Peer
) -> None:
    left = threading.Event()

    def answer(out: BinaryIO) -> None:
        left.wait(20)
        out.write(b'{"boxes": {"connected": 1}, "tasks": {}}')

    peer.tell("GET", "fleet", Reply(200, answer, {"Content-Type": "application/json"}))
    process = start("fleet")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    left.set()
    assert process.stderr.read() == b""
    assert process.wait(20) == 1


def test_key_is_in_no_output_of_a_failure(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "boxes", None)
    for arguments in (["boxes"], ["boxes", "--bogus"], ["box", "none"], ["--key", KEY, "frobnicate"]):
        done = operis(*arguments)
        assert KEY not in done.err + done.text


def test_command_starts_without_what_it_does_not_need(peer: Peer) -> None:
    peer.tell("GET", "boxes", page(a_box()))
    code = (
        "import sys; from hub.client.cli import main; status = main(['boxes']); "
        "slow = {'pydantic', 'rich', 'asyncio', 'fastapi', 'websockets', 'difflib'} & set(sys.modules); "
        "print(sorted(slow), file=sys.stderr); sys.exit(status)"
    )
    environment = {**os.environ, "OPERIS_HUB": peer.url, "OPERIS_KEY": KEY}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")

"""Fetching what tasks left: exact, resumed, in its folder, and honest about what is missing."""

import hashlib
import json
import os
import pty
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from hub.client import artifacts
from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import TASK_ID, Peer, Reply, as_json, ended, page, problem

LIST = f"tasks/{TASK_ID}/artifacts"
DATA = bytes(range(256)) * 4000


def left(artifact_id: str, data: bytes = DATA, **more: Any) -> dict[str, Any]:
    """An artifact as the API shows it."""
    sha256 = hashlib.sha256(data).hexdigest()
    fields = {"id": artifact_id, "name": f"{artifact_id}.png", "media_type": "image/png", "size_bytes": len(data)}
    return fields | {"sha256": sha256, "state": "stored", "why": ""} | more


def cut_after(count: int) -> Callable[[BinaryIO], None]:
    """A body that breaks off."""
    return lambda out: (out.write(DATA[:count]), None)[1]


def whole(data: bytes = DATA, status: int = 200) -> Reply:
    """A body."""
    return Reply(status, data, {"Content-Type": "image/png"})


@pytest.fixture
def told(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer with an ended task, and short pauses."""
    monkeypatch.setattr(artifacts, "RETRY_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(artifacts, "LOOK_S", 0.01)
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(ended(artifacts=[left("a")])))
    return peer


def fetch(operis: Operis, folder: Path, *more: str) -> Any:
    """Fetch all; how it ended."""
    return operis("task", TASK_ID, "--artifacts", str(folder), *more)


def test_all_that_a_task_left_is_put_into_a_new_folder(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a"), after="1"), page(left("b", b"bee", name="b/../c.txt")))
    told.tell("GET", "artifacts/a", whole())
    told.tell("GET", "artifacts/b", whole(b"bee"))
    folder = tmp_path / "new" / "folder"
    done = fetch(operis, folder)
    assert done.status == 0, done.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.png": DATA, "b_.._c.txt": b"bee"}
    assert "a.png" in done.text
    assert fetch(operis, folder).status == 0
    assert len(told.asked("GET", "artifacts/a")) == 1  # it is there already


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_there_is_said_on_stdout_though_a_bar_is_shown_on_stderr(
    start: Callable[..., "subprocess.Popen[bytes]"], told: Peer, tmp_path: Path, is_terminal: bool
) -> None:
    told.tell("GET", LIST, page(left("a"), left("b", b"bee"), left("c", state="lost", why="no room")))
    told.tell("GET", "artifacts/a", whole())
    told.tell("GET", "artifacts/b", whole(b"bee"))
    ours, terminal = pty.openpty()
    out = {"stdout": terminal} if is_terminal else {}
    process = start("task", TASK_ID, "--artifacts", str(tmp_path), stderr=terminal, **out)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # EIO: the other side is closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    said, _ = process.communicate(timeout=20)
    lines = [f"{name}.png: {tmp_path}/{name}.png ({size} bytes)" for name, size in (("a", len(DATA)), ("b", 3))]
    assert process.returncode == 1
    assert b"c.png is lost: no room" in shown.replace(b"\r\n", b"")
    if is_terminal:
        assert all(line.encode() in shown for line in lines)
    else:
        assert said.decode().splitlines() == lines
        assert str(tmp_path).encode() not in shown


def test_what_is_cut_is_gone_on_with_also_by_the_next_command(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    headers = {"Content-Length": str(len(DATA))}
    told.tell("GET", "artifacts/a", Reply(200, cut_after(1000), headers), Reply(206, DATA[1000:2000]), None, None, None)
    assert fetch(operis, tmp_path).status == 1
    asked = [one.headers.get("Range") for one in told.asked("GET", "artifacts/a")]
    assert asked == [None, "bytes=1000-", "bytes=2000-", "bytes=2000-"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    told.tell("GET", "artifacts/a", Reply(206, DATA[2000:]))
    assert fetch(operis, tmp_path).status == 0
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", DATA)]
    last = told.asked("GET", "artifacts/a")[-1]
    assert (last.headers["Range"], last.headers["If-Range"]) == ("bytes=2000-", f'"{left("a")["sha256"]}"')


def test_a_hub_that_answers_a_range_with_all_of_it_is_understood(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    told.tell("GET", "artifacts/a", whole())
    (tmp_path / f".a.png.{left('a')['sha256'][:8]}.part").write_bytes(b"something else")
    assert fetch(operis, tmp_path).status == 0
    assert (tmp_path / "a.png").read_bytes() == DATA


def test_another_content_is_never_put_in_place(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    told.tell("GET", "artifacts/a", whole(DATA[:-1] + b"x"))
    done = fetch(operis, tmp_path)
    assert (done.status, list(tmp_path.iterdir())) == (1, [])
    assert "another content" in done.err


def test_pending_and_lost_ones_are_said_and_the_rest_is_fetched(operis: Operis, told: Peer, tmp_path: Path) -> None:
    lost = left("l", state="lost", why="the box's disk is full")
    told.tell("GET", LIST, page(left("p", state="pending"), lost, left("a")))
    told.tell("GET", "artifacts/a", whole())
    done = fetch(operis, tmp_path)
    assert done.status == 1
    assert "p.png is pending" in done.err
    assert "l.png is lost: the box's disk is full" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_wait_waits_for_what_is_pending(operis: Operis, told: Peer, tmp_path: Path) -> None:
    waits = page(left("a", state="pending"))
    told.tell("GET", LIST, waits, waits, waits, page(left("a")))
    told.tell("GET", "artifacts/a", whole())
    assert fetch(operis, tmp_path, "--wait", "20").status == 0
    assert (tmp_path / "a.png").read_bytes() == DATA
    told.tell("GET", LIST, waits)
    assert fetch(operis, tmp_path / "other", "--wait", "0.05").status == 1


def test_as_json_it_says_where_each_lies(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    told.tell("GET", "artifacts/a", whole())
    done = fetch(operis, tmp_path, "--json")
    assert json.loads(done.text)["artifacts"][0]["path"] == str(tmp_path / "a.png")


def test_a_folder_that_cannot_be_made_or_written_is_told(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    told.tell("GET", "artifacts/a", whole())
    (tmp_path / "file").write_text("x")
    done = fetch(operis, tmp_path / "file")
    assert done.status != 0
    assert "file" in done.err
    (tmp_path / "a.png").mkdir()
    assert fetch(operis, tmp_path).status != 0


def test_a_refusal_is_told_as_the_hub_said_it(operis: Operis, told: Peer, tmp_path: Path) -> None:
    told.tell("GET", LIST, page(left("a")))
    told.tell("GET", "artifacts/a", problem(410, "it is lost", hint="nothing"))
    done = fetch(operis, tmp_path)
    assert done.status == 1
    assert "it is lost" in done.err


def test_task_lists_what_it_left(operis: Operis, told: Peer) -> None:
    lost = left("b", state="lost", why="no room\x1b[2J")
    told.tell("GET", f"tasks/{TASK_ID}", as_json(ended(artifacts=[left("a"), lost])))
    lines = operis("task", TASK_ID).text.splitlines()
    first = next(line for line in lines if line.startswith("a "))
    assert first.split() == ["a", "a.png", str(len(DATA)), "stored"]
    assert any(line.endswith("no room\ufffd[2J") for line in lines)
    assert "--artifacts DIR" in lines[-1]


def test_link_prints_the_address_of_the_hub_with_it(operis: Operis, peer: Peer) -> None:
    made = {"url": "/trace-viewer/?trace=x", "download_url": "/api/v1/artifacts/a?x", "expires_at": "2026-01-01"}
    peer.tell("POST", "artifacts/a/link", as_json(made))
    done = operis("link", "a", "--ttl", "60")
    assert done.text == f"{peer.url}/trace-viewer/?trace=x\n"
    assert "2026-01-01" in done.err
    assert peer.requests[0].json == {"ttl_s": 60.0}
    shown = json.loads(operis("link", "a", "--json").text)
    assert shown["download_url"] == f"{peer.url}/api/v1/artifacts/a?x"
    assert operis("link", "../tasks").status == 2

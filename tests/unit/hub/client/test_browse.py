"""`operis browse`: what it hands over, what it shows, and where the files go."""

import hashlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.client import browse
from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import TASK_ID, Peer, Reply, a_box, a_task, as_json, ended, event, problem, stream

Start = Callable[..., "subprocess.Popen[bytes]"]

URL = "https://a.example/"
PICTURE = b"\x89PNG a picture"


def artifact(state: str = "stored", **more: Any) -> dict[str, Any]:
    return {
        "id": "a-1",
        "name": "02-screenshot.png",
        "media_type": "image/png",
        "size_bytes": len(PICTURE),
        "sha256": hashlib.sha256(PICTURE).hexdigest(),
        "state": state,
        "why": "",
    } | more


def step(action: str, state: str = "succeeded", value: object = None) -> dict[str, Any]:
    return {"action": action, "name": None, "state": state, "value": value, "duration_ms": 240, "error": None}


def browsed(state: str = "succeeded", *artifacts: dict[str, Any], **more: Any) -> dict[str, Any]:
    steps = [step("goto"), step("screenshot", value="02-screenshot.png")]
    fields = {"kind": "browser.run", "result": {"steps": steps}, "artifacts": list(artifacts)}
    return ended(state, None, **(fields | more))


def report(index: int, action: str) -> bytes:
    data = {"index": index, "total": 2, "action": action, "name": "", "state": "succeeded", "duration_ms": 240}
    return event("step", data)


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "LOOK_S", (0.01,))


def test_steps_are_shown_as_they_end_and_the_picture_is_put_in_place(
    operis: Operis, peer: Peer, tmp_path: Path
) -> None:
    end = event("end", {"task": browsed("succeeded", artifact())})
    peer.tell_run(stream(report(1, "goto"), report(2, "screenshot"), end))
    peer.tell("GET", "artifacts/a-1", Reply(200, PICTURE))
    file = tmp_path / "a.png"
    done = operis("browse", "box-1", URL, "--screenshot", str(file), "--allow", "10.0.0.1", "--deliver-within", "60")
    assert (done.status, done.err) == (0, "")
    assert done.text.splitlines() == [
        f"✓ 1 goto {URL} 240 ms",
        "✓ 2 screenshot 240 ms",
        f"screenshot: {file} ({len(PICTURE)} B)",
    ]
    assert file.read_bytes() == PICTURE
    assert peer.asked("POST", "boxes/box-1/tasks")[0].json == {
        "kind": "browser.run",
        "steps": [{"action": "goto", "url": URL}, {"action": "screenshot", "type": "png"}],
        "allow": ["10.0.0.1"],
        "deliver_within_s": 60.0,
    }


def test_a_file_that_is_still_on_the_box_is_waited_for(operis: Operis, peer: Peer, tmp_path: Path) -> None:
    peer.tell_run(stream(event("end", {"task": browsed("succeeded", artifact("pending"))})))
    waiting = as_json(browsed("succeeded", artifact("pending")))
    peer.tell(
        "GET",
        f"tasks/{TASK_ID}",
        waiting,
        problem(503, "restarting"),
        waiting,
        as_json(browsed("succeeded", artifact())),
    )
    peer.tell("GET", "boxes/box-1", as_json(a_box(status="lost")))
    peer.tell("GET", "artifacts/a-1", Reply(200, PICTURE))
    done = operis("browse", "box-1", URL, "--screenshot", str(tmp_path / "a.png"))
    assert (done.status, (tmp_path / "a.png").read_bytes()) == (0, PICTURE)
    assert "waits for 02-screenshot.png (14 B) from box-1: box-1 not connected" in done.err


def test_a_file_that_never_comes_is_given_up_on(
    operis: Operis, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "GIVE_UP_S", 0.05)
    peer.tell_run(stream(event("end", {"task": browsed("succeeded", artifact("pending"))})))
    peer.tell("GET", f"tasks/{TASK_ID}", as_json(browsed("succeeded", artifact("pending"))))
    peer.tell("GET", "boxes/box-1", as_json(a_box()))
    done = operis("browse", "box-1", URL, "--screenshot", str(tmp_path / "a.png"))
    assert done.status == 255
    assert "box-1 has not sent 02-screenshot.png" in done.err
    assert f"operis task {TASK_ID} --artifacts DIR" in done.err


@pytest.mark.parametrize(
    ("found", "answer", "says"),
    [
        (artifact("lost", why="the disk was full"), None, "02-screenshot.png is lost: the disk was full"),
        (
            artifact(),
            problem(410, "it was pruned", hint="run it again"),
            "screenshot: it was pruned\nhint: run it again",
        ),
        (artifact(), Reply(200, b"something else"), "a.png came with another content"),
    ],
)
def test_a_file_that_cannot_be_had_is_255_and_said(
    operis: Operis, peer: Peer, tmp_path: Path, found: dict[str, Any], answer: Reply | None, says: str
) -> None:
    peer.tell_run(stream(event("end", {"task": browsed("succeeded", found)})))
    if answer is not None:
        peer.tell("GET", "artifacts/a-1", answer)
    done = operis("browse", "box-1", URL, "--screenshot", str(tmp_path / "a.png"))
    assert done.status == 255
    assert says in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("state", "status"), [("failed", 1), ("timed_out", 124), ("rejected", 255)])
def test_a_task_that_failed_says_why_and_what_it_kept(
    operis: Operis, peer: Peer, tmp_path: Path, state: str, status: int
) -> None:
    error = {"code": "step_failed", "message": "step 1 (goto): no such host", "hint": "check it"}
    steps = [step("goto", "failed"), step("screenshot", "skipped")]
    kept = artifact(name="failure.png")
    task = browsed(state, kept, error=error, result={"steps": steps})
    peer.tell_run(stream(event("end", {"task": task})))
    done = operis("browse", "box-1", URL, "--screenshot", str(tmp_path / "a.png"))
    assert done.status == status
    assert done.text.splitlines() == [f"✗ 1 goto {URL} 240 ms", "- 2 screenshot"]
    assert "step 1 (goto): no such host\nhint: check it\n" in done.err
    assert f"screenshot: the task kept none\nhint: 'operis task {TASK_ID} --artifacts DIR' fetches" in done.err


def test_json_is_the_task_alone(operis: Operis, peer: Peer) -> None:
    peer.tell_run(stream(report(1, "goto"), event("end", {"task": browsed()})))
    done = operis("browse", "box-1", URL, "--json")
    assert (done.status, json.loads(done.out)["kind"]) == (0, "browser.run")


def test_detached_it_prints_the_id(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/box-1/tasks", as_json(a_task(), 201))
    assert operis("browse", "box-1", URL, "--detach").text == f"{TASK_ID}\n"


@pytest.mark.parametrize(
    "words", [["box-1"], [], ["box-1", "a.example"], ["box-1", URL, "--screenshot", "a.gif"], ["box-1", URL, "--bogus"]]
)
def test_command_line_that_is_wrong_is_255_and_asks_the_hub_nothing(
    operis: Operis, peer: Peer, words: list[str]
) -> None:
    done = operis("browse", *words)
    assert (done.status, done.out, peer.requests) == (255, b"", [])
    assert "hint: " in done.err


def test_steps_that_are_refused_are_said_by_their_number(operis: Operis, peer: Peer) -> None:
    wrong = [{"field": "steps.1.url", "message": "step 1 (goto): url: is no address"}]
    peer.tell("POST", "boxes/box-1/tasks", problem(422, "the body: step 1", errors=wrong))
    done = operis("browse", "box-1", "https://")
    assert done.status == 255
    assert done.err == "operis: step 1 (goto): url: is no address\nhint: 'operis browse --help' shows what is allowed\n"


def test_ctrl_c_says_how_to_look_at_a_task_without_output(start: Start, peer: Peer) -> None:
    leave = threading.Event()
    running = a_task(kind="browser.run", state="running")
    peer.tell_run(stream(report(1, "goto"), lambda: leave.wait(20)), task=running)
    process = start("browse", "box-1", URL)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("✓ 1 goto".encode())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    leave.set()
    assert process.returncode == 255
    assert f"task {TASK_ID} goes on on box-1\nhint: 'operis task {TASK_ID}' shows how it is, ".encode() in err

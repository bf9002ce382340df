"""`operis-box browse`: steps as they end, files where they are wanted, and how it ends."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.shop import Shop
from tests.unit.appliance.client.conftest import Daemon, Owner
from tests.unit.appliance.engines import LIMIT_S


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A site that no box may reach unless it is granted."""
    shop = Shop()
    yield shop
    shop.close()


def steps(tmp_path: Path, *each: dict[str, object]) -> str:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps(each))
    return str(file)


async def test_steps_are_told_as_they_end_and_files_lie_where_they_are_wanted(
    owner: Owner, shop: Shop, tmp_path: Path
) -> None:
    file = steps(tmp_path, {"action": "title"}, {"action": "goto", "url": f"{shop.url}slow"})
    picture, trace = tmp_path / "a.webp", tmp_path / "t.zip"
    flags = ("--allow", "127.0.0.1", "--steps", file, "--screenshot", str(picture), "--trace", str(trace))
    process = await owner.start("browse", shop.url, *flags)
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        for start in (f"✓ 1 goto {shop.url} ", "✓ 2 title "):
            assert (await process.stdout.readline()).decode().startswith(start)
        assert await asyncio.to_thread(shop.asked.wait, LIMIT_S)
    shop.go.set()
    done = await owner.end(process)
    assert (done.status, done.err) == (0, "")
    lines = done.text.splitlines()
    assert [line.split(" ")[1:3] for line in lines[:2]] == [["3", "goto"], ["4", "screenshot"]]
    assert lines[2] == "2 title: Shop"
    assert (picture.read_bytes()[8:12], trace.read_bytes()[:2]) == (b"WEBP", b"PK")
    assert [line.partition(" (")[0] for line in lines[3:]] == [f"screenshot: {picture}", f"trace: {trace}"]


async def test_a_step_that_fails_is_1_and_its_evidence_is_kept(owner: Owner, shop: Shop, tmp_path: Path) -> None:
    file = steps(tmp_path, {"action": "expect", "title": "Bakery", "timeout_s": 0.3})
    picture = tmp_path / "a.png"
    done = await owner("browse", shop.url, "--allow", "127.0.0.1", "--steps", file, "--screenshot", str(picture))
    assert done.status == 1
    assert [line.split()[0] for line in done.text.splitlines()] == ["✓", "✗", "-"]
    for words in ("step 2 (expect)", "Shop", "screenshot: the task kept none", "--artifacts DIR"):
        assert words in done.err
    assert not picture.exists()
    task_id = json.loads((await owner("tasks", "--json")).out)["items"][0]["id"]
    evidence = tmp_path / "evidence"
    assert (await owner("task", task_id, "--artifacts", str(evidence))).status == 0
    assert {"failure.png", "failure.txt", "trace.zip"} <= {path.name for path in evidence.iterdir()}


async def test_ctrl_c_ends_it(owner: Owner, daemon: Daemon, shop: Shop) -> None:
    process = await owner.start("browse", f"{shop.url}slow", "--allow", "127.0.0.1")
    assert await asyncio.to_thread(shop.asked.wait, LIMIT_S)
    process.send_signal(signal.SIGINT)
    done = await owner.end(process)
    assert done.status == 255
    assert f"✗ 1 goto {shop.url}slow: did not end" in done.text
    assert "is being cancelled" in done.err
    assert daemon.engines.rows("SELECT state FROM tasks") == [("cancelled",)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no page is given"),
        (["a.example"], "has no scheme"),
        (["http://a", "--allow", "http://b/"], "--allow 0: "),
        (["http://a", "--screenshot", "a.gif"], "is no picture"),
        (["http://a", "--bogus"], "--bogus"),
        (["http://a", "--timeout", "0"], "--timeout: "),
    ],
)
async def test_what_cannot_be_is_255_and_makes_no_task(
    owner: Owner, daemon: Daemon, words: list[str], says: str
) -> None:
    done = await owner("browse", *words)
    assert (done.status, done.out) == (255, b"")
    assert says in done.err
    assert "hint: " in done.err
    assert daemon.engines.rows("SELECT id FROM tasks") == []


async def test_json_is_the_task_alone_and_detached_the_id(owner: Owner, daemon: Daemon, shop: Shop) -> None:
    done = await owner("browse", shop.url, "--allow", "127.0.0.1", "--json")
    assert (done.status, json.loads(done.out)["state"]) == (0, "succeeded")
    task_id = (await owner("browse", shop.url, "--allow", "127.0.0.1", "--detach")).text.strip()
    assert (await daemon.engines.wait(task_id)).state == "succeeded"

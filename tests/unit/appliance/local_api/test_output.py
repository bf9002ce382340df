"""A task's output by the local API: as bytes, and live."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from appliance.engine import Engine
from appliance.local_api.output import HELD_BYTES, Feed
from cloudsync.messages import OutputChunk, OutputGap, StepReport
from tests.unit.appliance.engines import LIMIT_S, Engines, bash, browse, until
from tests.unit.appliance.local_api.caller import Call, events


def written(found: list[tuple[str, Any]], stream: str = "stdout") -> bytes:
    """What came of a stream, which must come in order."""
    data = b""
    for name, event in found:
        if name == "output" and event["stream"] == stream:
            assert event["offset"] == len(data)
            data += base64.b64decode(event["data_b64"])
    return data


async def test_the_bytes_are_exact_and_in_ranges(call: Call, engines: Engines) -> None:
    task_id = (await engines.run(r"printf '\377\0003456789'; echo oh >&2")).task_id
    path = f"/tasks/{task_id}/output"
    whole = await call("GET", path)
    assert (whole.status, whole.body, whole.headers["operis-truncated"]) == (200, b"\xff\x003456789", "false")
    assert (await call("GET", f"{path}?stream=stderr")).body == b"oh\n"
    for wanted, body, where in (
        ("bytes=1-2", b"\x003", "bytes 1-2/9"),
        ("bytes=7-", b"89", "bytes 7-8/9"),
        ("bytes=-2", b"89", "bytes 7-8/9"),
        ("bytes=8-99", b"9", "bytes 8-8/9"),
    ):
        part = await call("GET", path, Range=wanted)
        assert (part.status, part.body, part.headers["content-range"]) == (206, body, where)
    assert (await call("GET", path, Range="lines=1-2")).status == 200
    for wanted in ("bytes=9-", "bytes=3-2", "bytes=-0"):
        assert (await call("GET", path, Range=wanted)).status == 416


async def test_a_running_task_shows_what_it_has_written(call: Call, served: Engine, tmp_path: Path) -> None:
    task_id = await served.submit(bash(f"echo one; echo oh >&2; touch {tmp_path}/there; sleep 60"))
    await until("its output", (tmp_path / "there").exists)
    assert (await call("GET", f"/tasks/{task_id}/output")).body == b"one\n"
    part = await call("GET", f"/tasks/{task_id}/output?stream=stderr", Range="bytes=1-")
    assert (part.status, part.body) == (206, b"h\n")


async def test_a_file_that_a_browser_task_calls_its_output_is_not_read(
    call: Call, served: Engine, tmp_path: Path
) -> None:
    task_id = await served.submit(browse({"action": "wait_for", "milliseconds": 600_000}))
    folder = served.executor.tasks[task_id].folder
    await until("its folder", folder.exists)
    (tmp_path / "private").write_text("private")
    (folder / "stdout").symlink_to(tmp_path / "private")
    answer = await call("GET", f"/tasks/{task_id}/output")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_waiting_task_has_written_nothing(call: Call, served: Engine) -> None:
    served.executor.hold()
    task_id = await served.submit(bash("echo"))
    assert (await call("GET", f"/tasks/{task_id}/output")).body == b""


async def test_following_gives_all_and_the_end_to_early_and_late(call: Call, served: Engine, tmp_path: Path) -> None:
    task_id = await served.submit(
        bash(f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two; echo e >&2")
    )
    follow = f"/tasks/{task_id}/output?follow=1"
    early = [asyncio.ensure_future(call.raw("GET", follow)) for _ in range(2)]
    await until("two who follow", lambda: len(served.executor.watch._followers.get(task_id, ())) == 2)
    (tmp_path / "go").touch()
    async with asyncio.timeout(LIMIT_S):
        bodies = [await one for one in early]
    bodies.append(await call.raw("GET", follow))
    for body in bodies:
        found = events(body)
        assert (written(found), written(found, "stderr")) == (b"one\ntwo\n", b"e\n")
        assert found[-1][0] == "end"
        assert found[-1][1]["task"]["state"] == "succeeded"
    assert served.executor.watch._followers == {}
    rest = events(await call.raw("GET", f"{follow}&from_stdout=4&from_stderr=2"))
    assert [(name, event.get("offset")) for name, event in rest] == [("output", 4), ("end", None)]


async def test_a_follower_who_leaves_is_let_go(call: Call, served: Engine) -> None:
    task_id = await served.submit(bash("sleep 60"))
    reader, writer = await asyncio.open_unix_connection(str(served.folder.local_api))
    writer.write(f"GET /tasks/{task_id}/output?follow=1 HTTP/1.1\r\nHost: box\r\n\r\n".encode())
    await reader.readuntil(b": alive")
    assert len(served.executor.watch._followers[task_id]) == 1
    writer.close()
    await until("nobody", lambda: not served.executor.watch._followers)


async def test_what_came_of_an_earlier_attempt_is_said_to_be_of_that(
    call: Call, served: Engine, engines: Engines, tmp_path: Path
) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    task_id = await served.submit(bash(f"echo of one; {wait}; echo of two; echo e >&2", idempotent=True))
    following = asyncio.ensure_future(call.raw("GET", f"/tasks/{task_id}/output?follow=1"))
    await until("a follower", lambda: bool(served.executor.watch._followers))
    follower = next(iter(served.executor.watch._followers[task_id].values()))
    await until("what the first wrote", lambda: follower.offsets["stdout"] == len("of one\n"))
    engines.kill_spawner()
    await until("the second attempt", lambda: served.executor.tasks[task_id].attempt == 2)
    (tmp_path / "go").touch()
    async with asyncio.timeout(LIMIT_S):
        found = events(await following)
    assert written(found) == b"of one\n"
    assert ("gap", {"stream": "stdout", "from": 0, "to": len("of one\nof two\n")}) in found
    assert written(found, "stderr") == b"e\n"
    assert found[-1][1]["task"]["attempt"] == 2


async def test_steps_come_beside_the_output(call: Call, served: Engine) -> None:
    task_id = await served.submit(bash("sleep 60"))
    following = asyncio.ensure_future(call.raw("GET", f"/tasks/{task_id}/output?follow=1"))
    await until("a follower", lambda: bool(served.executor.watch._followers))
    served.executor.watch.step(
        StepReport(task_id=task_id, index=1, total=2, action="goto", state="succeeded", duration_ms=5)
    )
    served.executor.cancel(task_id, "")
    async with asyncio.timeout(LIMIT_S):
        found = events(await following)
    assert [name for name, _ in found] == ["step", "end"]
    assert found[0][1] == {"index": 1, "total": 2, "action": "goto", "name": "", "state": "succeeded", "duration_ms": 5}


async def test_a_long_output_follows_whole_where_it_is_read(call: Call, served: Engine) -> None:
    size = 3 * HELD_BYTES
    task_id = await served.submit(bash(f"sleep 0.2; head -c {size} /dev/zero; sleep 0.4"))
    async with asyncio.timeout(LIMIT_S):
        found = events(await call.raw("GET", f"/tasks/{task_id}/output?follow=1"))
    assert written(found) == bytes(size)


async def test_what_an_outcome_could_not_hold_is_a_gap_live_and_whole_as_bytes(call: Call, engines: Engines) -> None:
    task_id = (await engines.run("head -c 600000 /dev/zero | tr '\\0' x")).task_id
    answer = await call("GET", f"/tasks/{task_id}/output")
    assert (answer.headers["operis-truncated"], answer.body) == ("false", b"x" * 600_000)
    part = await call("GET", f"/tasks/{task_id}/output", Range="bytes=300000-300009")
    assert (part.body, part.headers["content-range"]) == (b"x" * 10, "bytes 300000-300009/600000")
    found = events(await call.raw("GET", f"/tasks/{task_id}/output?follow=1"))
    assert [name for name, _ in found] == ["output", "gap", "output", "end"]
    assert found[2][1]["offset"] == found[1][1]["to"]


@pytest.mark.parametrize("query", ["stream=x", "follow=2", "follow=1&from_stdout=-1", "from_stdin=1"])
async def test_a_wrong_query_is_refused(call: Call, engines: Engines, query: str) -> None:
    task_id = (await engines.run("echo")).task_id
    assert (await call("GET", f"/tasks/{task_id}/output?{query}")).status == 422


async def test_a_feed_that_nobody_reads_takes_no_more_than_it_may_hold() -> None:
    feed = Feed()
    data = base64.b64encode(bytes(32 * 1024)).decode()
    taken = 0
    while feed.offer(OutputChunk(task_id="t", stream="stdout", offset=taken * 32 * 1024, data_b64=data)):
        taken += 1
    assert HELD_BYTES < taken * 32 * 1024 <= HELD_BYTES + 32 * 1024
    assert len(feed.take()) == taken
    assert feed.offer(OutputGap(task_id="t", stream="stdout", from_offset=0, to_offset=1))
    await feed.wait(LIMIT_S)

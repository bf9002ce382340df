"""The path of a task's output."""

import asyncio
import base64

from cloudsync.messages import Follow, OutputGap, StepReport, Unfollow
from cloudsync.spec import Outcome, Output
from hub import tenancy
from hub.dispatch import now_ms
from tests.unit.hub.http import Events, Http, ServerEvent
from tests.unit.hub.peer import Peer, event, outcome
from tests.unit.hub.running import RunningHub, make

BINARY = bytes(range(256)) * 3


async def started(hub: RunningHub, http: Http) -> tuple[Peer, str]:
    """A connected box and its running task."""
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    await box.commands(1)
    await box.report(event(task_id, "running"), ack=1)
    return box, task_id


def pieces(events: list[ServerEvent], stream: str = "stdout") -> list[tuple[int, bytes]]:
    """The output events as (offset, data)."""
    found = [found.data for found in events if found.name == "output" and found.data["stream"] == stream]
    return [(one["offset"], base64.b64decode(one["data_b64"])) for one in found]


async def next_named(events: Events, name: str) -> ServerEvent:
    found = await events.next()
    assert found is not None
    assert found.name == name, found
    return found


async def test_bytes_of_a_finished_task_are_exact(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    await box.report(event(task_id, "failed", outcome(1, BINARY, "né\n".encode())))
    out = await http.get(f"/api/v1/tasks/{task_id}/output")
    assert (out.status, out.body, out.headers["content-type"]) == (200, BINARY, "application/octet-stream")
    assert out.headers["operis-truncated"] == "false"
    assert (await http.get(f"/api/v1/tasks/{task_id}/output?stream=stderr")).body == "né\n".encode()


async def test_ranges(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    await box.report(event(task_id, "succeeded", outcome(0, b"0123456789")))
    path = f"/api/v1/tasks/{task_id}/output"
    for wanted, status, body, where in [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=9-999999999999", 206, b"9", "bytes 9-9/10"),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"0123456789", None),
    ]:
        answer = await http.get(path, Range=wanted)
        assert (wanted, answer.status, answer.body) == (wanted, status, body)
        assert answer.headers.get("content-range") == where
    for wanted in ("bytes=10-", "bytes=10-20", "bytes=-0", "bytes=5-2"):
        answer = await http.get(path, Range=wanted)
        assert (wanted, answer.status, answer.headers["content-range"]) == (wanted, 416, "bytes */10")
        assert answer.json()["hint"]
    empty = await http.get(f"{path}?stream=stderr", Range="bytes=0-")
    assert empty.status == 416


async def test_cut_output_says_so(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    cut = Output.of("head\n[… 9 bytes left out …]\ntail".encode(), total_bytes=17, cut_bytes=9)
    await box.report(event(task_id, "succeeded", Outcome(exit_code=0, stdout=cut)))
    answer = await http.get(f"/api/v1/tasks/{task_id}/output")
    assert (answer.headers["operis-truncated"], answer.body) == ("true", cut.data())
    async with http.events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        found = await events.until("end")
    assert [one.name for one in found] == ["output", "gap", "output", "end"]
    assert pieces(found) == [(0, b"head"), (13, b"tail")]
    assert found[1].data == {"stream": "stdout", "from": 4, "to": 13}
    assert found[-1].data["task"]["truncated"] is True


async def test_follow_before_during_and_after_the_run(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    task_id = await make(http, box.box_id)
    path = f"/api/v1/tasks/{task_id}/output?follow=1"
    async with http.events(path) as early:
        await box.begin()
        asked = await box.hear(Follow)
        assert (asked.task_id, asked.stdout) == (task_id, 0)
        await box.commands(1)
        await box.report(event(task_id, "running"), ack=1)
        await box.output(task_id, 0, BINARY[:300])
        await box.output(task_id, 0, b"err", "stderr")
        assert pieces([await next_named(early, "output")]) == [(0, BINARY[:300])]
        async with http.events(path) as late:
            assert pieces([await next_named(late, "output")]) == [(0, BINARY[:300])]
            await box.output(task_id, 300, BINARY[300:])
            await box.report(event(task_id, "succeeded", outcome(0, BINARY, b"errand")), wait=False)
            for events in (early, late):
                found = await events.until("end")
                assert pieces(found) == [(300, BINARY[300:])]
                assert b"".join(data for _, data in pieces(found, "stderr")) == b"errand"
                assert found[-1].data["task"]["state"] == "succeeded"
                assert await events.next() is None
    assert (await box.hear(Unfollow)).task_id == task_id
    async with http.events(path) as after:
        found = await after.until("end")
        assert (pieces(found), pieces(found, "stderr")) == ([(0, BINARY)], [(0, b"errand")])


async def test_steps_are_told_as_they_end(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    async with http.events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        assert (await box.hear(Follow)).steps is True
        await box.say(
            StepReport(task_id=task_id, index=1, total=2, action="goto", name="a", state="succeeded", duration_ms=240)
        )
        told = await next_named(events, "step")
        assert told.data == {
            "index": 1,
            "total": 2,
            "action": "goto",
            "name": "a",
            "state": "succeeded",
            "duration_ms": 240,
        }


async def test_follow_goes_on_from_the_byte_that_the_client_has(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    path = f"/api/v1/tasks/{task_id}/output?follow=1&from_stdout=4&from_stderr=2"
    async with http.events(path) as events:
        await box.hear(Follow)
        await box.output(task_id, 0, b"012345")
        assert pieces([await next_named(events, "output")]) == [(4, b"45")]
        await box.report(event(task_id, "succeeded", outcome(0, b"0123456", b"abc")))
        found = await events.until("end")
        assert (pieces(found), pieces(found, "stderr")) == ([(6, b"6")], [(2, b"c")])
    for wrong in ("x", "-1", "9" * 13):
        assert (await http.get(f"/api/v1/tasks/{task_id}/output?follow=1&from_stdout={wrong}")).status == 422


async def test_dropped_piece_is_announced_and_not_made_up(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    async with http.events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        await box.hear(Follow)
        await box.say(OutputGap(task_id=task_id, stream="stdout", from_offset=0, to_offset=5))
        await box.output(task_id, 9, b"9")
        assert (await next_named(events, "gap")).data == {"stream": "stdout", "from": 0, "to": 5}
        assert (await next_named(events, "gap")).data == {"stream": "stdout", "from": 5, "to": 9}
        await box.report(event(task_id, "succeeded", outcome(0, b"0123456789abc")))
        assert pieces(await events.until("end")) == [(9, b"9"), (10, b"abc")]


async def test_output_of_two_attempts_is_never_mixed(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    path = f"/api/v1/tasks/{task_id}/output?follow=1"
    async with http.events(path) as events:
        await box.hear(Follow)
        await box.output(task_id, 0, b"one")
        assert pieces([await next_named(events, "output")]) == [(0, b"one")]
        await box.cut()
        await box.connect()
        # The piece is on the heels of the event and must not overtake it.
        await box.report(event(task_id, "running", attempt=2), wait=False)
        await box.output(task_id, 0, b"two two")
        await box.report(event(task_id, "succeeded", outcome(0, b"two two"), attempt=2))
        found = await events.until("end")
    assert [(one.name, one.data) for one in found[:-1]] == [("gap", {"stream": "stdout", "from": 0, "to": 7})]


async def test_box_that_comes_back_is_asked_for_the_rest(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    async with http.events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        await box.hear(Follow)
        await box.output(task_id, 0, b"abc")
        await next_named(events, "output")
        await box.cut()
        await box.begin()
        asked = await box.hear(Follow)
        assert (asked.task_id, asked.stdout) == (task_id, 3)
        await box.output(task_id, 3, b"def")
        assert pieces([await next_named(events, "output")]) == [(3, b"def")]


async def test_output_of_another_customers_box_does_not_reach_the_watcher(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    await hub.customer("other")
    thief = await hub.box("thief", "other")
    await thief.connect()
    async with http.events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        await box.hear(Follow)
        await thief.output(task_id, 0, b"forged")
        await thief.report(event(task_id, "succeeded", outcome(0, b"forged")))
        await box.output(task_id, 0, b"true")
        assert pieces([await next_named(events, "output")]) == [(0, b"true")]


async def test_plain_get_of_a_running_task_shows_what_the_box_has_now(hub: RunningHub, http: Http) -> None:
    box, task_id = await started(hub, http)
    asking = asyncio.create_task(http.get(f"/api/v1/tasks/{task_id}/output"))
    await box.hear(Follow)
    await box.output(task_id, 0, b"so far")
    await box.output(task_id, 0, b"else", "stderr")
    answer = await asking
    assert (answer.status, answer.body, answer.headers["operis-truncated"]) == (200, b"so far", "false")
    asking = asyncio.create_task(http.get(f"/api/v1/tasks/{task_id}/output?stream=stderr"))
    await box.hear(Follow)
    await box.report(event(task_id, "succeeded", outcome(0, b"", b"all")))
    assert (await asking).body == b"all"


async def test_watcher_whose_key_is_revoked_is_cut_off(hub: RunningHub, http: Http) -> None:
    _, task_id = await started(hub, http)
    key = await hub.key(role="viewer")
    key_id = hub.auth.principal(key).key_id
    async with hub.http(key).events(f"/api/v1/tasks/{task_id}/output?follow=1") as events:
        await hub.job(lambda c: tenancy.revoke_key(c, key_id, None, now_ms()))
        hub.rights_changed()
        async with asyncio.timeout(5):
            assert await events.next() is None

"""A live session's traffic, against a peer that plays the hub."""

import asyncio
import json
from typing import Any

import pytest

from cloudsync.log import WINDOW_ENTRIES
from cloudsync.messages import BATCH_LIMIT_BYTES, FRAME_LIMIT_BYTES, StepReport
from tests.unit.appliance.engines import LIMIT_S, Engines, run_command, until
from tests.unit.appliance.peers import Scene, linked


async def test_a_quick_task_is_one_frame_with_the_ack_of_its_command(engines: Engines) -> None:
    engine = await engines.open()
    frames: list[dict[str, Any]] = []

    async def play(scene: Scene) -> None:
        await scene.admit()
        await scene.say("commands", from_seq=1, entries=[run_command("warm", ":")])
        while (await scene.hear("events"))["entries"][-1]["state"] != "succeeded":
            pass
        await scene.say("commands", from_seq=2, entries=[run_command("quick", ":")])
        while True:
            frames.append(json.loads(await scene.connection.recv()))

    async with linked(engine, play):
        await until("its end", lambda: engines.states("quick")[-1:] == ["succeeded"])
        await until("its frame", lambda: [f for f in frames if f["type"] == "events" and f.get("ack") == 2])
    ((entries),) = [f["entries"] for f in frames if f["type"] == "events" and f.get("ack") == 2]
    states = [entry["state"] for entry in entries if entry["task_id"] == "quick"]
    assert states in (["running", "succeeded"], ["running"])


async def test_commands_that_come_again_are_acked_again_and_not_done_again(engines: Engines) -> None:
    engine = await engines.open()
    acks: list[int] = []

    async def play(scene: Scene) -> None:
        await scene.admit()
        batch = {"from_seq": 1, "entries": [run_command("a", ":"), run_command("b", ":")]}
        for _ in range(2):
            await scene.say("commands", **batch)
            heard = None
            while heard is None:
                message = json.loads(await scene.connection.recv())
                heard = message.get("ack") if message["type"] == "events" else message.get("seq")
            acks.append(heard)
        await scene.say("commands", from_seq=2, entries=[run_command("b", ":"), run_command("c", ":")])
        await scene.connection.wait_closed()

    async with linked(engine, play):
        await until("the third", lambda: engines.states("c")[-1:] == ["succeeded"])
    assert acks == [2, 2]
    assert engines.states("b") == ["running", "succeeded"]


async def test_the_window_and_the_frame_limit_hold_for_a_long_backlog(engines: Engines) -> None:
    engine = await engines.open()
    size = 60_000
    ids = [(await engines.run(f"head -c {size} /dev/zero | tr '\\0' x")).task_id for _ in range(40)]
    flags = WINDOW_ENTRIES + 40
    await engines.apply(*({"type": "odd"} for _ in range(flags)))
    head = engine.outbox.head
    assert head == 2 * len(ids) + flags
    seen: list[int] = []
    largest = 0
    most = 0

    async def play(scene: Scene) -> None:
        nonlocal largest, most
        await scene.admit(event_seq=0)
        acked = 0
        while not seen or seen[-1] < head:
            try:
                async with asyncio.timeout(0.3):
                    frame = await scene.connection.recv()
            except TimeoutError:
                most = max(most, seen[-1] - acked)
                acked = seen[-1]
                await scene.say("ack", seq=acked)
                continue
            largest = max(largest, len(frame))
            message = json.loads(frame)
            if message["type"] == "events":
                seen.extend(range(message["from_seq"], message["from_seq"] + len(message["entries"])))

    async with linked(engine, play) as (_, ends):
        assert await asyncio.wait_for(ends.get(), LIMIT_S) is None
    assert seen == list(range(1, head + 1))
    assert BATCH_LIMIT_BYTES * 0.7 < largest <= FRAME_LIMIT_BYTES
    assert most == WINDOW_ENTRIES


async def test_a_stop_waits_for_the_hub_to_have_the_last_outcomes(engines: Engines) -> None:
    engine = await engines.open()

    async def play(scene: Scene) -> None:
        await scene.admit()
        frame = await scene.hear("events")
        await asyncio.sleep(0.2)  # a hub that takes its time
        await scene.say("ack", seq=frame["from_seq"] + len(frame["entries"]) - 1)
        await scene.connection.wait_closed()

    async with linked(engine, play) as (uplink, _):
        await until("a session", lambda: uplink._link)
        await engines.run(":")
        await uplink.drained(LIMIT_S)
        assert engine.outbox.unsynced == 0


@pytest.mark.parametrize("knows_steps", [True, False])
async def test_steps_go_to_a_hub_that_takes_them(engines: Engines, knows_steps: bool) -> None:
    engine = await engines.open()
    done = StepReport(task_id="a", index=1, total=2, action="goto", state="succeeded", duration_ms=240)
    heard: list[str] = []

    async def play(scene: Scene) -> None:
        await scene.admit(event_seq=0)
        await scene.say("commands", from_seq=1, entries=[run_command("a", "sleep 60")])
        while '"running"' not in await scene.connection.recv():
            pass
        await scene.say("follow", task_id="a", **({"steps": True} if knows_steps else {}))
        await until("a follower", lambda: bool(engine.executor.watch._followers))
        engine.executor.watch.step(done)
        engine.executor.cancel("a", "")
        while "cancelled" not in (frame := await scene.connection.recv()):
            heard.append(json.loads(frame)["type"])
        await scene.connection.close()

    async with linked(engine, play):
        await until("the end", lambda: engines.states("a")[-1:] == ["cancelled"])
    assert heard == (["step"] if knows_steps else [])

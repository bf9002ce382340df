"""The box's end of the link: against the real hub, and against peers that are none or play a bad one."""

import asyncio
import json
import logging
import shutil
import socket
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from appliance import uplink as module
from appliance.engine import Engine
from appliance.errors import EnrolmentRefused
from appliance.live import now_ms
from appliance.uplink import LinkState, Uplink
from cloudsync.messages import FRAME_LIMIT_BYTES
from cloudsync.task import TaskState
from tests.system.plant import Plant, free_port
from tests.unit.appliance.engines import LIMIT_S, Engines, run_command, until
from tests.unit.appliance.peers import HUB, Scene, linked, running, until_state


def tell(engine: Engine, plant: Plant, name: str, token: str | None = None) -> None:
    """Say to a box what its command line would."""
    token = plant.token() if token is None else token
    engine.enrolment = engine.enrolment.told(plant.relay_url, plant.url, token, name)


async def post(plant: Plant, name: str, command: str, **fields: Any) -> Any:
    """Run a task through the hub's API."""
    body = {"kind": "bash.exec", "command": command, **fields}
    return await asyncio.to_thread(plant.api().post, f"boxes/{name}/tasks?wait_s=20", body)


# With the real hub


async def test_a_box_enrols_connects_and_runs_what_the_hub_sends(engines: Engines, plant: Plant) -> None:
    engine = await engines.open()
    local = await engines.run("echo made here")
    tell(engine, plant, "first")
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        task = await post(plant, "first", "echo from the hub; exit 4")
        assert (task["state"], task["exit_code"], task["stdout"]) == ("failed", 4, "from the hub\n")
        found = await asyncio.to_thread(plant.api().get, f"tasks/{local.task_id}")
        assert (found["state"], found["origin"], found["stdout"]) == ("succeeded", "local", "made here\n")
        await until("the hub to have all", lambda: engine.outbox.unsynced == 0)
    remembered = json.loads((engines.path / "enrolment.json").read_text())
    assert (remembered["box_id"], remembered["token"], remembered["customer"]) == ("first", None, "acme")
    assert (engines.path / "enrolment.json").stat().st_mode & 0o777 == 0o600


async def test_a_refused_token_ends_the_uplink_with_a_clear_error(engines: Engines, plant: Plant) -> None:
    engine = await engines.open()
    tell(engine, plant, "nobody", "not-a-token-7711")
    with pytest.raises(EnrolmentRefused) as caught:
        await asyncio.wait_for(Uplink(engine).run(), LIMIT_S)
    assert caught.value.hint
    assert "not-a-token-7711" not in str(caught.value) + caught.value.hint


async def test_a_session_number_that_was_used_is_stepped_over(engines: Engines, plant: Plant) -> None:
    engine = await engines.open()
    tell(engine, plant, "stepping")
    for _ in range(2):
        async with running(engine) as uplink:
            await until_state(uplink, LinkState.CONNECTED)
        await engines.close()
        engine = await engines.open()
    await engines.close()
    engines.write("UPDATE meta SET value = 0 WHERE name = 'session'")
    engine = await engines.open()
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        assert uplink.session == 3
        assert (await post(plant, "stepping", "echo on"))["state"] == "succeeded"


async def test_a_lost_journal_comes_back_as_a_new_incarnation(engines: Engines, plant: Plant) -> None:
    engine = await engines.open()
    tell(engine, plant, "amnesiac")
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        assert (await post(plant, "amnesiac", "echo one"))["state"] == "succeeded"
    await engines.close()
    for part in engines.path.glob("journal.db*"):
        part.unlink()
    engine = await engines.open()
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        task = await post(plant, "amnesiac", "echo two")
        assert (task["state"], task["stdout"]) == ("succeeded", "two\n")


async def test_an_older_copy_is_shut_out_does_no_hub_work_and_begins_anew_when_released(
    engines: Engines, plant: Plant, tmp_path: Path
) -> None:
    engine = await engines.open()
    tell(engine, plant, "copied")
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        assert (await post(plant, "copied", "echo one"))["state"] == "succeeded"
    await engines.end()
    older = tmp_path / "older"
    shutil.copytree(engines.path, older, ignore=shutil.ignore_patterns("*.sock"))
    engine = await engines.open()
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        assert (await post(plant, "copied", "echo two"))["state"] == "succeeded"
    await engines.end()

    engine = await engines.open(older)
    before = engine.incarnation
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.UNWANTED)
        assert "settled" in uplink.status.error
        assert uplink.status.hint
        assert engine.executor.hub_work_held
        local = await engines.run("echo local work goes on")
        assert local.state is TaskState.SUCCEEDED
        box = await asyncio.to_thread(plant.api("admin").get, "boxes/copied")
        body = {"copy_id": box["copies"][0]["copy_id"]}
        await asyncio.to_thread(plant.api("admin").post, "boxes/copied/release", body)
        uplink._link_returned()
        await until_state(uplink, LinkState.CONNECTED)
        assert engine.incarnation != before
        assert not engine.executor.hub_work_held
        assert (await post(plant, "copied", "echo three"))["stdout"] == "three\n"
        await until("the hub to have all", lambda: engine.outbox.unsynced == 0)
        found = await asyncio.to_thread(plant.api().get, f"tasks/{local.task_id}")
        assert found["state"] == "succeeded"


async def test_another_event_at_the_ledgers_newest_seq_means_that_the_box_was_rolled_back(
    engines: Engines, plant: Plant
) -> None:
    engine = await engines.open()
    tell(engine, plant, "forked")
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        assert (await post(plant, "forked", "echo one"))["state"] == "succeeded"
        await until("the hub to have all", lambda: engine.outbox.unsynced == 0)
    await engines.close()
    engines.write(
        "UPDATE events SET body = json_set(body, '$.id', 'another') WHERE seq = (SELECT max(seq) FROM events)"
    )
    engine = await engines.open()
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.UNWANTED)
        assert engine.executor.hub_work_held
        await engines.apply(run_command("from-the-hub", "echo"), from_seq=2)
        assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
        assert engines.states("from-the-hub") == ["accepted"]
    await engines.close()
    engine = await engines.open()
    assert engine.executor.hub_work_held
    assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
    assert engines.states("from-the-hub") == ["accepted"]


async def test_a_hub_that_is_restarted_gets_everything(engines: Engines, tmp_path: Path) -> None:
    own = Plant(tmp_path / "own")
    try:
        await asyncio.to_thread(own.start_hub)
        engine = await engines.open()
        tell(engine, own, "patient")
        async with running(engine) as uplink:
            await until_state(uplink, LinkState.CONNECTED)
            await asyncio.to_thread(own.hub.kill)
            await until("the loss", lambda: uplink.status.state is not LinkState.CONNECTED)
            done = [await engines.run(f"echo {number}") for number in range(5)]
            await asyncio.to_thread(own.hub.start)
            await until_state(uplink, LinkState.CONNECTED)
            await until("the hub to have all", lambda: engine.outbox.unsynced == 0)
        for number, each in enumerate(done):
            found = await asyncio.to_thread(own.api().get, f"tasks/{each.task_id}")
            assert found["stdout"] == f"{number}\n"
    finally:
        own.close()


# Without a hub


async def test_with_no_hub_known_a_returning_link_changes_nothing_and_blocks_nobody(engines: Engines) -> None:
    engine = await engines.open()
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.LOCAL)
        for _ in range(3):
            uplink._link_returned()
            assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
        assert uplink.status.state is LinkState.LOCAL
        assert "--hub" in uplink.status.hint


async def test_with_a_hub_but_no_token_the_box_says_how_to_get_one(engines: Engines) -> None:
    engine = await engines.open()
    engine.enrolment = engine.enrolment.told("ws://127.0.0.1:1/relay", "http://127.0.0.1:1", None, None)
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.UNENROLLED)
        uplink._link_returned()
        assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
        assert "token add" in uplink.status.hint


async def test_a_hub_that_is_down_is_tried_again_while_local_work_goes_on(engines: Engines) -> None:
    engine = await engines.open()
    port = free_port()
    engine.enrolment = engine.enrolment.told(f"ws://127.0.0.1:{port}/relay", f"http://127.0.0.1:{port}", "t", None)
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.WAITING)
        assert "does not answer: " in uplink.status.error
        assert uplink.status.next_retry_ms is not None
        assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
    engine.enrolment = replace(engine.enrolment, box_id="box-1", hub=HUB)
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.WAITING)
        assert f"ws://127.0.0.1:{port}/relay cannot be reached: " in uplink.status.error


async def test_a_web_server_that_is_no_hub_is_called_one(engines: Engines) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = server.server_address[1]
        engine = await engines.open()
        engine.enrolment = engine.enrolment.told(f"ws://127.0.0.1:{port}/relay", f"http://127.0.0.1:{port}", "t", None)
        async with running(engine) as uplink:
            await until_state(uplink, LinkState.UNWANTED)
            assert "no Operis hub" in uplink.status.error
            assert "--web" in uplink.status.hint
        engine.enrolment = replace(engine.enrolment, box_id="box-1", hub=HUB)
        async with running(engine) as uplink:
            await until("an error", lambda: uplink.status.error or None)
            assert "no Operis hub" in uplink.status.error
            assert "--hub" in uplink.status.hint
    finally:
        server.shutdown()
        server.server_close()


# With a peer that plays the hub


async def test_another_hub_than_the_pinned_one_is_not_talked_to(engines: Engines) -> None:
    engine = await engines.open()

    async def play(scene: Scene) -> None:
        await scene.say("challenge", nonce="n", hub="another hub")
        await scene.connection.wait_closed()

    async with linked(engine, play) as (uplink, _):
        await until_state(uplink, LinkState.UNWANTED)
        assert uplink.status.error == f"this is hub another hub, the box is enrolled with {HUB}"
        assert uplink.status.hint
        assert uplink.session == 0


async def garbage(scene: Scene) -> None:
    await scene.connection.send("no JSON at all \U0001f4a5")
    await scene.connection.wait_closed()


async def binary(scene: Scene) -> None:
    await scene.connection.send(b"\0\1\2")
    await scene.connection.wait_closed()


async def oversize(scene: Scene) -> None:
    await scene.connection.send("x" * (FRAME_LIMIT_BYTES + 1))
    await scene.connection.wait_closed()


async def close(scene: Scene) -> None:
    await scene.connection.close()


async def wrong_turn(scene: Scene) -> None:
    await scene.say("commands", from_seq=1, entries=[run_command("early", "echo")])
    await scene.connection.wait_closed()


async def gap(scene: Scene) -> None:
    await scene.admit()
    await scene.say("commands", from_seq=7, entries=[run_command("gap", "echo")])
    await scene.connection.wait_closed()


async def empty(scene: Scene) -> None:
    await scene.admit()
    await scene.say("commands", from_seq=1, entries=[])
    await scene.connection.wait_closed()


async def ack_of_the_future(scene: Scene) -> None:
    await scene.admit()
    await scene.say("ack", seq=1000)
    await scene.connection.wait_closed()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (garbage, "broke the protocol"),
        (binary, "binary frame"),
        (oversize, "ended"),
        (close, "ended"),
        (wrong_turn, "'commands' while awaiting_challenge"),
        (gap, "a gap"),
        (empty, "an empty batch"),
        (ack_of_the_future, "ack of entry 1000"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_hub_that_misbehaves_is_left_and_tried_again(engines: Engines, bad: Any, said: str) -> None:
    engine = await engines.open()
    errors: list[str] = []

    async def play(scene: Scene) -> None:
        if scene.number == 0:
            await bad(scene)
            return
        errors.append(uplinks[0].status.error)
        await scene.admit()
        await scene.say("commands", from_seq=1, entries=[run_command("t", "echo on")])
        while (await scene.hear("events"))["entries"][-1]["state"] != "succeeded":
            pass
        await scene.connection.wait_closed()

    uplinks: list[Uplink] = []
    async with linked(engine, play) as (uplink, _):
        uplinks.append(uplink)
        await until("the task", lambda: engines.states("t")[-1:] == ["succeeded"])
    assert said in errors[0]


async def test_a_goodbye_with_a_time_is_honoured(engines: Engines) -> None:
    engine = await engines.open()
    came: list[float] = []

    async def play(scene: Scene) -> None:
        came.append(time.monotonic())
        await scene.admit()
        if scene.number == 0:
            await scene.say("bye", retry_after_s=1.0, reason="an upgrade")
        await scene.connection.wait_closed()

    async with linked(engine, play) as (uplink, _):
        await until("the second connection", lambda: len(came) == 2)
        assert came[1] - came[0] >= 1.0
        await until_state(uplink, LinkState.CONNECTED)


async def test_what_was_acked_on_a_connection_that_broke_is_not_sent_again(engines: Engines) -> None:
    engine = await engines.open()
    heard: list[list[int]] = []
    hellos: list[dict[str, Any]] = []

    async def play(scene: Scene) -> None:
        have = 0 if not heard else heard[-1][-1]
        hellos.append(await scene.admit(event_seq=have))
        seen: list[int] = []
        heard.append(seen)
        while True:
            frame = await scene.hear("events")
            seen.extend(range(frame["from_seq"], frame["from_seq"] + len(frame["entries"])))
            await scene.say("ack", seq=seen[-1])
            if scene.number == 0:
                await scene.connection.close()
                return

    async with linked(engine, play):
        for _ in range(3):
            await engines.run("echo")
        await until("six events", lambda: len(heard) > 1 and heard[-1][-1:] == [6])
    assert [seq for part in heard for seq in part] == [1, 2, 3, 4, 5, 6]
    assert hellos[1]["session"] == hellos[0]["session"] + 1
    assert hellos[1]["last"] == hellos[0]["session"]


async def test_events_that_are_no_longer_held_are_declared_lost(engines: Engines) -> None:
    engine = await engines.open()
    for _ in range(3):
        await engines.run("echo")
    engine.outbox.ack(6)
    engine.journal.prune(now_ms() + 8 * 24 * 3600 * 1000, 6, 7)
    await engine.journal.committed([])
    assert engines.rows("SELECT seq FROM events") == [(6,)]
    frames: list[dict[str, Any]] = []

    async def play(scene: Scene) -> None:
        await scene.admit(event_seq=2)
        frames.append(await scene.hear("events"))
        frames.append(await scene.hear("events"))
        await scene.say("ack", seq=6)
        await scene.connection.wait_closed()

    async with linked(engine, play):
        await until("two frames", lambda: len(frames) == 2)
        await until("the ack", lambda: engine.outbox.acked == 6)
    (lost,) = frames[0]["entries"]
    assert (frames[0]["from_seq"], lost["type"], lost["from_seq"], lost["to_seq"]) == (3, "lost", 3, 5)
    assert (frames[1]["from_seq"], [entry["state"] for entry in frames[1]["entries"]]) == (6, ["succeeded"])


async def test_who_follows_a_task_gets_its_output_live_and_whole_before_its_end(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open()
    data = b""
    order: list[str] = []

    async def play(scene: Scene) -> None:
        nonlocal data
        await scene.admit()
        script = "for i in 1 2 3; do echo $i; sleep 0.2; done; printf end"
        await scene.say("commands", from_seq=1, entries=[run_command("t", script)])
        await scene.say("follow", task_id="t", stdout=0, stderr=0)
        while True:
            message = json.loads(await scene.connection.recv())
            order.append(message["type"])
            if message["type"] == "output":
                import base64

                assert message["offset"] == len(data)
                data += base64.b64decode(message["data_b64"])
            elif message["type"] == "events" and message["entries"][-1]["state"] == "succeeded":
                return

    async with linked(engine, play) as (_, ends):
        assert await asyncio.wait_for(ends.get(), LIMIT_S) is None
    assert data == b"1\n2\n3\nend"
    assert order.count("output") >= 3
    assert order[-1] == "events"


async def test_a_hub_that_goes_silent_is_left(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    from appliance import link

    monkeypatch.setattr(link, "PULSE_S", 0.1)
    monkeypatch.setattr(link, "DEAD_AFTER_S", 0.3)
    engine = await engines.open()

    async def play(scene: Scene) -> None:
        await scene.admit()
        await scene.connection.wait_closed()

    async with linked(engine, play) as (uplink, _):
        await until_state(uplink, LinkState.CONNECTED)
        first = uplink.session
        await until("another session", lambda: uplink.session > first)


async def test_nothing_secret_is_logged(engines: Engines, plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    engine = await engines.open()
    token = plant.token()
    tell(engine, plant, "discreet", token)
    async with running(engine) as uplink:
        await until_state(uplink, LinkState.CONNECTED)
        await post(plant, "discreet", "echo $PASSWORD", env={"PASSWORD": "hunter2-secret"})
    own = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records if r.name.startswith("appliance"))
    assert "connected" in own
    assert token not in own
    assert "hunter2-secret" not in own
    assert isinstance(socket.gethostname(), str)
    assert module.UNWANTED_RETRY_S == 60.0

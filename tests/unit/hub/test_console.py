"""The console of the relay port: one frame a command, one frame back at its end."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub import tenancy
from hub.dispatch import now_ms
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, outcome
from tests.unit.hub.running import RunningHub, look

FIELDS = {"success", "id", "task_id", "state", "exit_code", "stdout", "stderr", "duration_ms", "error"}


def open_console(hub: RunningHub, box_id: str, key: str, **more: Any) -> connect:
    """A console to a box, the key in the query."""
    return connect(f"{hub.relay_url}?boxId={box_id}&apiKey={key}&hwid=test", proxy=None, **more)


async def ask(console: ClientConnection, **frame: Any) -> None:
    """Send a command."""
    await console.send(json.dumps({"type": "bash.exec", "command": "true"} | frame))


async def told(console: ClientConnection) -> dict[str, Any]:
    """The next frame, which has every field of the contract and no other."""
    async with asyncio.timeout(20):
        reply: dict[str, Any] = json.loads(await console.recv())
    assert set(reply) == FIELDS
    return reply


async def ended(box: Peer, count: int = 1) -> list[str]:
    """Run the next commands to their ends; their ids."""
    ids = [entry["task_id"] for entry in await box.commands(count)]
    for task_id in ids:
        await box.finish(task_id, outcome(0, b"hi\n", b"oh\n"))
    return ids


async def test_answer_has_what_the_task_came_to(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    async with open_console(hub, box.box_id, await hub.key()) as console:
        await ask(console, command="echo hi", id="mine")
        (task_id,) = await ended(box)
        reply = await told(console)
        assert 0 <= reply.pop("duration_ms") < 20_000
        assert reply == {
            "success": True, "id": "mine", "task_id": task_id, "state": "succeeded", "exit_code": 0,
            "stdout": "hi\n", "stderr": "oh\n", "error": None,
        }  # fmt: skip
        await ask(console)
        await box.finish((await box.commands(1))[0]["task_id"], outcome(3), "failed")
        failed = await told(console)
        assert (failed["success"], failed["state"], failed["exit_code"], failed["id"]) == (False, "failed", 3, None)


async def test_answers_come_in_the_order_of_completion(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    async with open_console(hub, box.box_id, await hub.key()) as console:
        for number in range(3):
            await ask(console, id=number)
        ids = [entry["task_id"] for entry in await box.commands(3)]
        for number in (2, 0, 1):
            await box.finish(ids[number])
            assert (await told(console))["id"] == number


async def test_id_is_echoed_whatever_scalar_it_is(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    async with open_console(hub, box.box_id, await hub.key()) as console:
        for echo in ("", "é\u0000", 0, -7, 10**30, 1.5, True, False, None):
            await ask(console, id=echo)
            await ended(box)
            reply = await told(console)
            assert (type(reply["id"]), reply["id"], reply["success"]) == (type(echo), echo, True)
            await ask(console, id=echo, type="unknown")
            reply = await told(console)
            assert (reply["id"], reply["success"]) == (echo, False)


BAD_FRAMES: list[str | bytes] = [
    "",
    "not json",
    "[]",
    "null",
    '"text"',
    "{}",
    '{"type":"bash.exec"}',
    '{"type":"bash.exec","command":1}',
    '{"type":"bash.exec","command":""}',
    '{"type":"bash.exec","command":"a\\u0000b"}',
    '{"type":"bash.exec","command":"a\\ud800b"}',
    '{"type":"bash.exec","command":"true","id":{}}',
    '{"type":"bash.exec","command":"true","id":NaN}',
    '{"type":"bash.exec","command":"true","id":1e400}',
    '{"type":"bash.exec","command":"true","timeout_s":0}',
    '{"type":"bash.exec","command":"true","timeout_s":1e400}',
    '{"type":"bash.exec","command":"true","timeout_s":true}',
    '{"type":"bash.exec","command":"true","timeout_s":86401}',
    '{"type":"bash.exec","command":"true","color":"red"}',
    '{"type":"browser.run","steps":[]}',
    "[" * 5000,
    '{"id":7,"a":' + "[" * 3000,
    b"\x00\x01",
    b'{"type":"bash.exec","command":"true"}',
]


async def test_bad_frame_gets_one_answer_with_a_hint_and_the_console_goes_on(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    async with open_console(hub, box.box_id, await hub.key()) as console:
        for frame in BAD_FRAMES:
            await console.send(frame)
            reply = await told(console)
            assert (frame, reply["success"], reply["task_id"], reply["state"]) == (frame, False, None, None)
            assert reply["error"]["code"]
            assert reply["error"]["message"]
            assert reply["error"]["hint"]
        await ask(console)
        await ended(box)
        assert (await told(console))["success"]
    assert hub.rows("SELECT count(*) AS n FROM tasks")[0]["n"] == 1


async def test_frame_over_the_limit_closes_the_console(hub: RunningHub) -> None:
    await hub.box()
    async with open_console(hub, "box-1", await hub.key()) as console:
        await ask(console, command="x" * 1_100_000)
        with pytest.raises(ConnectionClosed) as caught:
            await console.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_who_may_not_come_in_is_told_before_the_upgrade(hub: RunningHub) -> None:
    await hub.box()
    await hub.customer("other")
    key = await hub.key()
    cases = [
        ("boxId=box-1", {}, 401),
        ("boxId=box-1&apiKey=opk_wrong", {}, 401),
        ("boxId=box-1", {"Authorization": "Basic x"}, 401),
        (f"boxId=box-1&apiKey={await hub.key(role='viewer')}", {}, 403),
        (f"boxId=none&apiKey={key}", {}, 404),
        (f"apiKey={key}", {}, 404),
        (f"boxId=box-1&apiKey={await hub.key('other')}", {}, 404),
    ]
    for query, headers, status in cases:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"{hub.relay_url}?{query}", additional_headers=headers, proxy=None)
        response = caught.value.response
        assert (query, response.status_code) == (query, status)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert json.loads(response.body or b"")["hint"]
    with pytest.raises(InvalidStatus) as caught:
        await connect(hub.relay_url.replace("/relay", "/other"), proxy=None)
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize("role", ["operator", "admin", "platform"])
async def test_key_may_come_in_the_header_too(hub: RunningHub, role: str) -> None:
    box = await hub.box()
    await box.connect()
    key = hub.admin_key if role == "platform" else await hub.key(role=role)
    headers = {"Authorization": f"Bearer {key}"}
    async with connect(f"{hub.relay_url}?boxId=box-1", additional_headers=headers, proxy=None) as console:
        await ask(console)
        await ended(box)
        assert (await told(console))["success"]


async def test_closed_console_cancels_nothing(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    console = await open_console(hub, box.box_id, await hub.key())
    for _ in range(20):
        await ask(console)
    await console.close()
    ids = await ended(box, 20)
    assert [(await look(http, task_id))["state"] for task_id in ids] == ["succeeded"] * 20


async def test_console_that_is_lost_cancels_nothing(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    console = await open_console(hub, box.box_id, await hub.key())
    await ask(console)
    (command,) = await box.commands(1)
    console.transport.abort()
    await box.finish(command["task_id"])
    assert (await look(http, command["task_id"]))["state"] == "succeeded"


async def test_wait_ends_five_seconds_after_the_timeout_and_the_task_goes_on(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    async with open_console(hub, box.box_id, await hub.key()) as console:
        began = now_ms()
        await ask(console, timeout_s=0.1, id=1)
        reply = await told(console)
        assert 5_000 <= now_ms() - began < 9_000
        assert (reply["success"], reply["state"], reply["error"]["code"]) == (False, "queued", "not_ended")
        assert reply["task_id"] in reply["error"]["hint"]
        assert (await look(http, reply["task_id"]))["state"] == "queued"
        await box.connect()
        await ended(box)
        await ask(console, id=2)
        await ended(box)
        assert (await told(console))["id"] == 2


async def test_console_whose_key_is_revoked_is_closed(hub: RunningHub) -> None:
    await hub.box()
    key = await hub.key()
    async with open_console(hub, "box-1", key) as console, open_console(hub, "box-1", await hub.key()) as other:
        key_id = hub.auth.principal(key).key_id
        await hub.job(lambda c: tenancy.revoke_key(c, key_id, None, now_ms()))
        hub.rights_changed()
        with pytest.raises(ConnectionClosed) as caught:
            await console.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
        await other.send("x")
        assert not (await told(other))["success"]


async def test_task_for_a_box_that_is_revoked_is_refused_with_a_hint(hub: RunningHub) -> None:
    await hub.box()
    async with open_console(hub, "box-1", await hub.key()) as console:
        await hub.job(lambda c: c.execute("UPDATE boxes SET standing = 'revoked'").rowcount)
        await ask(console, id="x")
        reply = await told(console)
        assert (reply["id"], reply["error"]["code"]) == ("x", "box_revoked")
        assert reply["error"]["hint"]


async def test_open_consoles_are_counted(hub: RunningHub) -> None:
    await hub.box()
    async with open_console(hub, "box-1", await hub.key()) as console:
        await console.send("x")
        await told(console)
        assert hub.relay.consoles == 1
    for _ in range(100):
        if hub.relay.consoles == 0:
            break
        await asyncio.sleep(0.01)
    assert hub.relay.consoles == 0

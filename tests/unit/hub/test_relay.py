"""The relay port: handshakes, their verdicts, and what comes in that is no handshake."""

import asyncio
import gc
from typing import Any

import pytest

from cloudsync import identity
from cloudsync.messages import Challenge, Denied, Message, RolledBack, Settled, Stale, Welcome
from hub import roster, tenancy
from hub.dispatch import now_ms
from hub.relay import SETTLE_TIMEOUT_S, clock_offset_ms
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, event, outcome, some_id
from tests.unit.hub.running import RunningHub, look, make


async def denied(peer: Peer, **changes: Any) -> Denied:
    """The denial that a hello gets."""
    verdict = await peer.greet(**changes)
    assert isinstance(verdict, Denied), verdict
    return verdict


async def test_hello_is_bound_to_nonce_hub_name_and_key(hub: RunningHub) -> None:
    box = await hub.box()
    old = (await box.open()).nonce
    await box.cut()
    for changes in ({"nonce": old}, {"hub": "hub-other"}, {"key": identity.new_key()}):
        assert (await denied(box, **changes)).code == "bad_signature"
    assert (await denied(box, box_id="nobody")).code == "unknown_box"
    assert (await denied(box, protocol=2)).code == "protocol"
    assert isinstance(await box.greet(), Welcome)


async def test_each_challenge_has_a_nonce_of_its_own(hub: RunningHub) -> None:
    box = await hub.box()
    nonces = []
    for _ in range(3):
        nonces.append((await box.open()).nonce)
        await box.cut()
    assert len(set(nonces)) == 3


async def test_frame_before_the_handshake_is_told_and_stored_nowhere(hub: RunningHub) -> None:
    box = await hub.box()
    frames: list[Message | str | bytes] = [
        Settled(session=1),
        '{"type":"events","from_seq":1,"entries":["x"]}',
        '{"type":"pulse","now_ms":1}',
        "garbage",
        b"binary",
    ]
    for frame in frames:
        await box.open()
        await box.say(frame)
        assert (await box.closed())[0] == 1002
    assert hub.rows("SELECT 1 FROM events") == []
    await box.open()
    await box.say(box.hello())
    await box.hear(Welcome)
    await box.say('{"type":"events","from_seq":1,"entries":["x"]}')
    assert (await box.closed())[0] == 1002
    assert hub.rows("SELECT 1 FROM events") == []


async def test_session_number_that_was_used_is_stale_and_changes_nothing(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    late = box.copy()
    late.session = 0
    verdict = await hub.mine(late).greet()
    assert verdict == Stale(fence=1)
    await box.beat()


async def test_box_whose_link_died_after_the_welcome_gets_its_next_session_before_it_gives_up(hub: RunningHub) -> None:
    box = await hub.box()
    assert isinstance(await box.greet(), Welcome)
    again = hub.mine(box.copy("hw"))
    async with asyncio.timeout(SETTLE_TIMEOUT_S + 2):
        assert isinstance(await again.greet(), Welcome)
    assert await box.closed() == (1002, f"not settled within {SETTLE_TIMEOUT_S:.0f} s")


async def test_newer_session_supersedes_the_older(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    again = hub.mine(box.copy("hw"))
    await again.connect()
    assert (await box.closed())[0] == 4001
    task_id = await make(http, box.box_id)
    assert (await again.commands(1))[0]["task_id"] == task_id


async def test_two_boxes_of_one_identity_are_noticed_and_both_shut_out(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.cut()
    clone = hub.mine(box.copy())
    await box.connect()
    verdict = await denied(clone, session=9)
    assert verdict.code == "quarantined"
    assert "release" in verdict.hint
    assert (await box.hear(Denied)).code == "quarantined"
    shown = (await http.get(f"/api/v1/boxes/{box.box_id}")).json()
    assert shown["status"] == "quarantined"
    assert shown["why"]
    assert [copy["hwid"] for copy in shown["copies"]] == ["hw-2"]
    assert (await denied(box, session=10)).code == "quarantined"
    assert [row["type"] for row in hub.rows("SELECT type FROM events")] == ["quarantined", "quarantined"]


async def test_released_copy_alone_begins_anew(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id, waiting = await make(http, box.box_id), ""
    await box.commands(1)
    await box.cut()
    clone = hub.mine(box.copy())
    await box.connect()
    await denied(clone, session=9)
    await box.closed()
    waiting = await make(http, box.box_id)
    admin = hub.http(await hub.key(role="admin"))
    shown = (await admin.get(f"/api/v1/boxes/{box.box_id}")).json()
    copy_id = shown["copies"][0]["copy_id"]
    assert (await admin.post(f"/api/v1/boxes/{box.box_id}/release", {"copy_id": "none"})).status == 422
    assert (await admin.post(f"/api/v1/boxes/{box.box_id}/release", {"copy_id": copy_id})).status == 200
    assert (await denied(box, session=20)).code == "quarantined"
    assert (await denied(clone, session=21)).code == "begin_anew"
    clone.incarnation, clone.last, clone.command_seq, clone.event_seq = some_id(), 0, 0, 0
    clone.session = 21
    await clone.connect()
    assert (await look(http, task_id))["error"]["code"] == "incarnation_ended"
    assert [entry["task_id"] for entry in await clone.commands(1)] == [waiting]
    assert (await denied(box, session=30)).code == "quarantined"
    assert (await http.get(f"/api/v1/boxes/{box.box_id}")).json()["status"] == "connected"


async def test_new_incarnation_starts_both_logs_anew_and_late_events_of_the_old_are_kept(
    hub: RunningHub, http: Http
) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    await box.commands(1)
    known = event(task_id, "running")
    await box.report(known, ack=1)
    await box.cut()
    box.incarnation, box.last, box.command_seq, box.event_seq, box.acked_event_seq = some_id(), 0, 0, 0, 0
    welcome = await box.connect()
    assert (welcome.event_seq, welcome.event_id) == (0, None)
    assert (await look(http, task_id))["state"] == "interrupted"
    await box.report(known, event(task_id, "succeeded", outcome(0, b"it did")))
    task = await look(http, task_id)
    assert (task["state"], task["stdout"], task["error"]) == ("succeeded", "it did", None)
    kinds = [(row["type"], row["state"]) for row in hub.rows("SELECT type, state FROM events ORDER BY n")]
    assert kinds.count(("task", "running")) == 1
    assert ("new_incarnation", None) in kinds


async def test_rolled_back_box_is_noticed_by_its_numbers(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.report(event(some_id(), "running"))
    await box.cut()
    verdict = await denied(box, event_seq=0)
    assert verdict.code == "quarantined"
    assert (await http.get(f"/api/v1/boxes/{box.box_id}")).json()["status"] == "quarantined"


async def test_box_that_finds_another_event_in_the_ledger_is_quarantined(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.report(event(some_id(), "running", event_id="e-1"))
    await box.cut()
    welcome = await box.greet()
    assert isinstance(welcome, Welcome)
    assert (welcome.event_seq, welcome.event_id) == (1, "e-1")
    await box.say(RolledBack(event_seq=1, event_id="another"))
    assert (await box.hear(Denied)).code == "quarantined"
    assert (await http.get(f"/api/v1/boxes/{box.box_id}")).json()["status"] == "quarantined"


async def test_restored_hub_goes_on_from_the_boxs_numbers(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.cut()
    sent = await make(http, box.box_id)
    await hub.job(
        lambda c: (
            c.execute("INSERT INTO commands VALUES ('box-1', 1, 'run', ?, 'me')", (sent,)).rowcount
            + c.execute("UPDATE tasks SET delivery = 'sent'").rowcount
        )
    )
    later = await make(http, box.box_id)
    # The box has had more commands and acks than this hub remembers.
    box.command_seq, box.event_seq = 7, 5
    welcome = await box.connect(acked_event_seq=5)
    assert welcome.event_seq == 0
    entries = await box.commands(2)
    assert ([entry["task_id"] for entry in entries], box.command_seq) == ([sent, later], 9)
    box.event_seq, box.acked_event_seq = 0, 0
    await box.report(event(some_id(), "succeeded", outcome(0)), ack=9)
    assert [row["type"] for row in hub.rows("SELECT type FROM events ORDER BY n")] == ["hub_restored", "task"]


async def test_revoked_box_is_cut_off_and_stays_out(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    admin = hub.http(await hub.key(role="admin"))
    # A key that is revoked in the same second must not hide it.
    row, _ = await hub.job(lambda c: tenancy.add_key(c, "acme", "viewer", now_ms()))
    assert (await admin.post(f"/api/v1/boxes/{box.box_id}/revoke")).json()["status"] == "revoked"
    assert (await admin("DELETE", f"/api/v1/keys/{row['id']}")).status == 200
    hub.rights_changed()
    assert (await box.hear(Denied)).code == "revoked"
    await box.closed()
    assert (await denied(box)).code == "revoked"
    assert (await http.post(f"/api/v1/boxes/{box.box_id}/tasks", {"kind": "bash.exec", "command": "x"})).status == 409


async def test_box_that_is_revoked_between_welcome_and_settled_gets_no_session(hub: RunningHub) -> None:
    box = await hub.box()
    assert isinstance(await box.greet(), Welcome)
    await hub.job(lambda c: roster.revoke(c, box.box_id, None))
    await box.say(Settled(session=box.session))
    await box.closed()
    assert hub.dispatch.sessions == {}


async def test_many_connections_of_one_box_at_once_leave_one_session(hub: RunningHub) -> None:
    box = await hub.box()
    copies = [hub.mine(box.copy("hw")) for _ in range(8)]

    async def try_it(number: int) -> bool:
        peer = copies[number]
        verdict = await peer.greet(session=number + 1)
        if isinstance(verdict, Welcome):
            await peer.say(Settled(session=number + 1))
        return isinstance(verdict, Welcome)

    welcomed = await asyncio.gather(*(try_it(number) for number in range(8)))
    assert any(welcomed)
    await hub.settle()
    fence = hub.rows("SELECT fence, settled FROM boxes")[0]
    assert len(hub.dispatch.sessions) <= 1
    assert all(session.fence == fence["fence"] for session in hub.dispatch.sessions.values())


async def test_what_is_no_websocket_leaves_neither_traceback_nor_secret(hub: RunningHub) -> None:
    host, port = hub.relay_url.removeprefix("ws://").removesuffix("/relay").split(":")
    key = await hub.key()
    requests = [
        b"",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /relay HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /relay?boxId=box-1&apiKey={key} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"POST /relay?boxId=box-1&apiKey={key} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET //[x?apiKey=opk_y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /relay?boxId=%00%ff HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ]
    await hub.box()
    for request in requests:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        if request:
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
        writer.close()
    gc.collect()
    assert len(hub.relay._access) == 0, "what failed to open must not be remembered"


async def test_draining_hub_says_goodbye_and_takes_no_one(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await hub.relay.stop()
    assert (await box.closed())[0] == 1001
    assert hub.rows("SELECT last_seen_at FROM boxes")[0]["last_seen_at"] is not None


async def test_dropped_boxes_leave_no_error_in_the_log(hub: RunningHub, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "c"):
        box = await hub.box(name)
        await (box.connect() if name == "a" else box.greet() if name == "b" else box.open())
        await box.cut()
    await hub.settle()
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


@pytest.mark.parametrize(
    ("asked_at", "box_now", "heard_at", "offset"),
    [(100, 150, 200, 0), (100, 50, 200, 50), (100, 300, 200, -100), (100, 0, 200, 0), (100, 100, 100, 0)],
)
def test_clock_is_corrected_by_no_more_than_is_certain(asked_at: int, box_now: int, heard_at: int, offset: int) -> None:
    assert clock_offset_ms(asked_at, box_now, heard_at) == offset


async def test_challenge_names_the_hub(hub: RunningHub) -> None:
    box = await hub.box()
    challenge = await box.open()
    assert isinstance(challenge, Challenge)
    assert challenge.hub == hub.context.hub_name

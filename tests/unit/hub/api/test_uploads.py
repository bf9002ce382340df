"""Boxes send what their tasks left: resumed wherever it was cut, verified, and by the token of a live session alone."""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudsync.spec import Artifact, Outcome
from hub import tenancy
from hub.api import uploads
from hub.dispatch import now_ms
from tests.unit.hub.http import Answer, Http
from tests.unit.hub.peer import Peer, event, some_id
from tests.unit.hub.running import RunningHub, make

DATA = os.urandom(1_000_000)


async def until(look: Callable[[], bool]) -> None:
    """Look until it is so."""
    async with asyncio.timeout(20):
        for _ in iter(look, True):
            await asyncio.sleep(0.001)


class Sender:
    """A box in session, whose task left some content."""

    def __init__(self, hub: RunningHub, box: Peer) -> None:
        self.hub = hub
        self.box = box
        self.token = ""
        self.task_id = ""

    @classmethod
    async def of(cls, hub: RunningHub, name: str = "box-1", customer: str = "acme", data: bytes = DATA) -> "Sender":
        """A new box, whose outcome names the content."""
        sender = cls(hub, await hub.box(name, customer))
        sender.token = (await sender.box.connect()).token
        sender.task_id = await make(hub.http(await hub.key(customer)), sender.box.box_id)
        await sender.box.commands(1)
        sha256 = hashlib.sha256(data).hexdigest()
        left = Artifact(id=some_id(), name="a.bin", media_type="x/y", size_bytes=len(data), sha256=sha256)
        await sender.box.report(
            event(sender.task_id, "running"), event(sender.task_id, "succeeded", Outcome(artifacts=(left,))), ack=1
        )
        return sender

    def path(self, data: bytes = DATA) -> str:
        """Where the content is sent."""
        return f"/api/v1/uploads/{hashlib.sha256(data).hexdigest()}"

    async def look(self, data: bytes = DATA) -> Answer:
        """How much is there."""
        return await self.hub.http(self.token).get(self.path(data))

    async def send(self, offset: int, body: bytes, data: bytes = DATA) -> Answer:
        """Send on from an offset."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        return await self.hub.http(self.token)("PATCH", self.path(data), body, headers)

    async def send_half(self, offset: int, body: bytes, of: int) -> None:
        """Say that more comes than does, and cut the connection once the hub has read it."""
        headers = {"Upload-Offset": str(offset), "Content-Length": str(of)}
        _, writer = await self.hub.http(self.token)._ask("PATCH", self.path(), body, headers)
        await writer.drain()
        await until(lambda: self.hub.context.uploading > 0)
        writer.write_eof()
        writer.close()
        await until(lambda: not self.hub.context.uploading)

    def state(self) -> str:
        """What the database says of the artifact."""
        return str(self.hub.rows("SELECT state FROM artifacts WHERE task_id = ?", self.task_id)[0]["state"])


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code of a problem, which has a hint."""
    found = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["hint"]
    return answer.status, found["code"]


async def test_a_content_comes_in_pieces_and_is_there_when_the_last_has_come(hub: RunningHub, http: Http) -> None:
    sender = await Sender.of(hub)
    assert (await sender.look()).json() == {"offset": 0, "size_bytes": len(DATA), "is_complete": False}
    for start in range(0, len(DATA), 300_000):
        assert sender.state() == "pending"
        answer = await sender.send(start, DATA[start : start + 300_000])
        here = min(start + 300_000, len(DATA))
        assert (answer.status, answer.json()["offset"]) == (200, here)
        assert answer.json()["is_complete"] is (here == len(DATA))
    assert sender.state() == "stored"
    (shown,) = (await http.get(f"/api/v1/tasks/{sender.task_id}")).json()["artifacts"]
    assert (await http.get(f"/api/v1/artifacts/{shown['id']}")).body == DATA
    assert hub.context.blobs.used_bytes == len(DATA)
    again = await sender.send(0, DATA)
    assert (again.status, again.json()["is_complete"]) == (200, True)
    assert hub.context.blobs.used_bytes == len(DATA)


async def test_what_a_cut_request_brought_is_kept(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    offset = 0
    while offset < len(DATA):
        await sender.send_half(offset, DATA[offset : offset + 90_000], len(DATA) - offset + 1)
        before, offset = offset, (await sender.look()).json()["offset"]
        assert offset == min(before + 90_000, len(DATA))
    assert (await sender.send(offset, b"")).json()["is_complete"] is True
    assert sender.state() == "stored"


async def test_an_empty_content_is_one(hub: RunningHub) -> None:
    sender = await Sender.of(hub, data=b"")
    assert (await sender.look(b"")).json() == {"offset": 0, "size_bytes": 0, "is_complete": False}
    assert (await sender.send(0, b"", b"")).json()["is_complete"] is True
    assert sender.state() == "stored"


async def test_another_offset_is_refused_with_the_right_one(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    await sender.send(0, DATA[:1000])
    for offset in (0, 999, 1001, len(DATA)):
        answer = await sender.send(offset, b"x")
        assert problem(answer) == (409, "wrong_offset")
        assert answer.json()["offset"] == 1000
    assert (await sender.send(1000, DATA[1000:])).json()["is_complete"] is True
    answer = await sender.hub.http(sender.token)("PATCH", sender.path(), b"x", {})
    assert answer.status == 200  # it is complete, whatever comes


@pytest.mark.parametrize("offset", ["", "-1", "x", "1" * 20, "١"])
async def test_an_offset_that_is_none_is_refused(hub: RunningHub, offset: str) -> None:
    sender = await Sender.of(hub)
    headers = {"Upload-Offset": offset.encode().decode("latin-1")}
    answer = await hub.http(sender.token)("PATCH", sender.path(), b"x", headers)
    assert problem(answer) == (422, "invalid")


async def test_more_than_was_named_is_refused_and_not_kept(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    assert problem(await sender.send(0, DATA + b"x")) == (413, "too_large")
    offset = (await sender.look()).json()["offset"]
    assert offset < len(DATA)
    assert (await sender.send(offset, DATA[offset:])).json()["is_complete"] is True


async def test_what_has_another_sha256_is_refused_whole_and_begins_anew(hub: RunningHub, http: Http) -> None:
    sender = await Sender.of(hub)
    assert problem(await sender.send(0, DATA[:-1] + bytes([DATA[-1] ^ 1]))) == (422, "wrong_sha256")
    assert sender.state() == "pending"
    assert (await sender.look()).json()["offset"] == 0
    assert [path for path in (hub.data / "artifacts").rglob("*") if path.is_file()] == []
    assert (await sender.send(0, DATA)).json()["is_complete"] is True


async def test_what_the_customer_has_need_not_come_again_and_what_another_has_does(hub: RunningHub) -> None:
    first = await Sender.of(hub)
    await first.send(0, DATA)
    second = await Sender.of(hub, "box-2")
    assert second.state() == "stored"
    assert (await second.look()).json()["is_complete"] is True
    await hub.customer("other")
    theirs = await Sender.of(hub, "box-3", "other")
    assert theirs.state() == "pending"
    assert (await theirs.look()).json()["offset"] == 0


async def test_a_box_reaches_only_what_its_own_outcomes_name(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    await hub.customer("other")
    theirs = await Sender.of(hub, "box-2", "other", b"theirs")
    for data in (DATA, b"of nobody"):
        assert problem(await theirs.look(data)) == (404, "not_named")
        assert problem(await theirs.send(0, data, data)) == (404, "not_named")
    sibling = await Sender.of(hub, "box-3", "acme", b"sibling")
    assert problem(await sibling.send(0, DATA)) == (404, "not_named")
    answer = await hub.http(theirs.token).get("/api/v1/uploads/..%2f..%2fhub.db")
    assert answer.status == 404
    assert (await sender.look()).json()["offset"] == 0


async def test_a_token_is_good_for_its_session_alone(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    old = sender.token
    await sender.send(0, DATA[:1000])
    await sender.box.cut()
    await until(lambda: not hub.dispatch.sessions)
    assert problem(await sender.look()) == (401, "token_expired")
    sender.token = (await sender.box.connect()).token
    assert sender.token != old
    assert (await sender.look()).json()["offset"] == 1000
    sender.token, new = old, sender.token
    assert problem(await sender.send(1000, DATA[1000:])) == (401, "token_expired")
    sender.token = new
    await hub.job(lambda c: c.execute("UPDATE boxes SET standing = 'revoked' WHERE id = 'box-1'"))
    assert problem(await sender.send(1000, DATA[1000:])) == (401, "token_expired")
    assert sender.state() == "pending"


async def test_no_token_a_made_up_one_and_an_operators_key_are_refused(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    for token, code in ((None, "no_token"), ("ops_x.y", "bad_token"), (await hub.key(role="admin"), "bad_token")):
        for method in ("GET", "PATCH"):
            answer = await Http(hub.web, token)(method, sender.path(), None, {"Upload-Offset": "0"})
            assert problem(answer) == (401, code)
    assert (await hub.http(sender.token).get("/api/v1/tasks")).status == 401


async def test_where_there_is_no_room_it_is_told_and_works_once_there_is(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await Sender.of(hub)
    await hub.job(lambda c: c.execute("UPDATE customers SET plan = 'starter' WHERE name = 'acme'"))
    monkeypatch.setitem(tenancy.PLAN_ARTIFACT_BYTES, "starter", 1000)
    assert problem(await sender.send(0, DATA)) == (507, "quota")
    monkeypatch.setitem(tenancy.PLAN_ARTIFACT_BYTES, "starter", None)
    hub.context.blobs.count("else", 64 * 1024 * 1024)
    assert problem(await sender.send(0, DATA)) == (507, "no_room")
    hub.context.blobs.count("else", -64 * 1024 * 1024)
    assert (await sender.send(0, DATA)).json()["is_complete"] is True


async def test_a_full_disk_keeps_what_fits_and_goes_on_when_there_is_space(hub: RunningHub, tmp_path: Path) -> None:
    sender = await Sender.of(hub)
    root = hub.data / "artifacts"
    process = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=600k", "none", root)
    assert await process.wait() == 0
    try:
        hub.context.blobs._floor_bytes = -(1 << 60)  # so that it is not looked at before
        assert problem(await sender.send(0, DATA)) == (507, "disk_full")
        assert sender.state() == "pending"
        offset = (await sender.look()).json()["offset"]
        assert 0 < offset < len(DATA)
        process = await asyncio.create_subprocess_exec("mount", "-o", "remount,size=8m", root)
        assert await process.wait() == 0
        assert (await sender.send(offset, DATA[offset:])).json()["is_complete"] is True
        assert sender.state() == "stored"
    finally:
        process = await asyncio.create_subprocess_exec("umount", "-l", root)
        await process.wait()


async def test_more_boxes_at_once_than_the_hub_takes_come_later(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await Sender.of(hub)
    monkeypatch.setattr(uploads, "AT_ONCE", 1)
    headers = {"Upload-Offset": "0", "Content-Length": str(len(DATA))}
    reader, writer = await hub.http(sender.token)._ask("PATCH", sender.path(), DATA[:10], headers)
    await until(lambda: hub.context.uploading > 0)
    assert problem(await sender.send(0, DATA)) == (503, "busy")
    writer.write(DATA[10:])
    assert json.loads((await reader.read()).partition(b"\r\n\r\n")[2])["is_complete"] is True
    writer.close()
    assert hub.context.uploading == 0


async def test_one_who_was_overtaken_stops(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    headers = {"Upload-Offset": "0", "Content-Length": str(len(DATA))}
    reader, writer = await hub.http(sender.token)._ask("PATCH", sender.path(), DATA[:10], headers)
    await until(lambda: hub.context.uploading > 0)
    assert (await sender.send(0, DATA[:5000])).json()["offset"] == 5000
    writer.write(DATA[10:])
    answer = await reader.read()
    assert b" 409 " in answer.splitlines()[0]
    writer.close()
    assert (await sender.send(5000, DATA[5000:])).json()["is_complete"] is True


async def test_a_file_that_is_there_though_the_database_does_not_know_it_need_not_come_again(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    await sender.send(0, DATA)
    await hub.job(lambda c: c.execute("DELETE FROM blobs"))
    await hub.job(lambda c: c.execute("UPDATE artifacts SET state = 'pending'"))
    found = (await sender.look()).json()
    assert (found["offset"], found["is_complete"]) == (len(DATA), False)
    assert (await sender.send(len(DATA), b"")).json()["is_complete"] is True
    assert sender.state() == "stored"


async def test_a_revoked_boxs_upload_ends_in_its_midst(hub: RunningHub) -> None:
    sender = await Sender.of(hub)
    headers = {"Upload-Offset": "0", "Content-Length": str(len(DATA))}
    reader, writer = await hub.http(sender.token)._ask("PATCH", sender.path(), DATA[:10], headers)
    await until(lambda: hub.context.uploading > 0)
    await hub.job(lambda c: tenancy.revoke_customer(c, "acme", now_ms()))
    writer.write(DATA[10:])
    assert b" 401 " in (await reader.read()).splitlines()[0]
    writer.close()
    assert sender.state() == "pending"

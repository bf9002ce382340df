"""What tasks left goes to the hub: after the outcomes, through any cut, and what cannot be sent is said."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance import upload
from appliance.artifacts import ArtifactStore
from appliance.upload import Uploader
from cloudsync.backoff import Backoff
from tests.unit.appliance.engines import Engines, until
from tests.unit.appliance.test_artifacts import Shelf
from tests.unit.appliance.web_peer import Asked, Fault, WebPeer, web_peer

DATA = os.urandom(400_000)
TOKEN = "ops_token"


class Sending:
    """An uploader at work on a real store, towards a peer."""

    def __init__(self, shelf: Shelf, peer: WebPeer) -> None:
        self.shelf = shelf
        self.peer = peer
        self.store: ArtifactStore = shelf.store
        self.outbox = shelf.engine.outbox
        self.uploader = Uploader(self.store, self.outbox)
        self.rest(0.005, 0.02)
        self.outbox.on_acked = self.uploader.acked
        self.outbox.acked = self.outbox.head
        self.outbox.on_added = lambda _: self.outbox.ack(self.outbox.head)
        self._running: asyncio.Task[None] | None = None

    def rest(self, first_s: float, cap_s: float) -> None:
        """How long it waits after a failure, and before it tries again what was refused."""
        self.uploader._backoff = Backoff(first_s, cap_s)
        self.uploader._new_backoff = lambda: Backoff(first_s, cap_s)  # type: ignore[method-assign]

    async def left(self, task_id: str, data: bytes = DATA) -> str:
        """A task left this, and the hub has its outcome."""
        await self.shelf.keep(task_id, data)
        return self.peer.expect(data)

    def start(self, token: str = TOKEN) -> None:
        """A session begins."""
        self._running = asyncio.create_task(self.uploader.run(self.peer.url, token))

    async def stop(self) -> None:
        """The session ends."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def until_state(self, task_id: str, state: str) -> None:
        """Until the journal says so."""
        await until(f"{task_id} is {state}", lambda: self.shelf.states().get(task_id) == state)

    def pieces(self) -> list[Asked]:
        """The requests that carried bytes."""
        return [asked for asked in self.peer.asked if asked.method == "PATCH"]


@pytest.fixture
async def sending(engines: Engines, tmp_path: Path) -> AsyncIterator[Sending]:
    """A store of 4 MiB and a peer."""
    folder = tmp_path / "left"
    folder.mkdir()
    async with web_peer() as peer:
        made = Sending(Shelf(await engines.open(), folder, 4096), peer)
        yield made
        await made.stop()


def first(count: int, fault: Fault, method: str = "PATCH") -> Callable[[int, Asked], Fault | None]:
    """The fault at the first requests of a method."""
    seen = iter(range(count))
    return lambda _, asked: fault if asked.method == method and next(seen, None) is not None else None


async def test_a_content_goes_in_pieces_and_is_stored_and_the_connection_goes_with_the_work(sending: Sending) -> None:
    sha256 = await sending.left("t")
    sending.start()
    await sending.until_state("t", "stored")
    assert sending.peer.came[sha256] == DATA
    assert len(sending.pieces()) > 1
    assert {asked.headers["authorization"] for asked in sending.peer.asked} == {f"Bearer {TOKEN}"}
    await until("the end of the connection", lambda: sending.peer.open_now == 0)
    second = await sending.left("later", b"later")
    await sending.until_state("later", "stored")
    assert sending.peer.came[second] == b"later"


async def test_nothing_goes_before_the_outcome_that_names_it(sending: Sending) -> None:
    await sending.left("t")
    await sending.shelf.engine.journal.committed([("UPDATE tasks SET final_seq = 7", ())])
    sending.outbox.head = sending.outbox.acked = 6
    sending.start()
    await sending.left("quick", b"quick")
    await sending.shelf.engine.journal.committed([("UPDATE tasks SET final_seq = 1 WHERE id = 'quick'", ())])
    sending.uploader.acked()
    await sending.until_state("quick", "stored")
    assert len(sending.pieces()) == 1
    sending.outbox.head = 7
    sending.outbox.ack(7)
    await sending.until_state("t", "stored")


async def test_outcomes_that_wait_go_first_and_a_stream_of_them_that_is_acked_lets_pieces_pass(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "BETWEEN_S", 0.02)
    await sending.left("t")
    sending.outbox.head += 5
    sending.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sending.until_state("t", "stored")
    assert sending.peer.asked == []
    while sending.shelf.states()["t"] == "kept":
        sending.outbox.head += 1
        sending.outbox.ack(sending.outbox.acked + 1)
        await asyncio.sleep(0.005)
    assert sending.outbox.unsynced == 5
    assert sending.shelf.states()["t"] == "stored"


async def test_a_link_that_is_cut_in_every_piece_still_brings_all(sending: Sending) -> None:
    sha256 = await sending.left("t")
    sending.peer.plan = first(20, 15_000)
    sending.start()
    await sending.until_state("t", "stored")
    assert sending.peer.came[sha256] == DATA
    assert sending.peer.connections > 20


async def test_it_goes_on_where_the_hub_is_and_not_where_it_thought(sending: Sending) -> None:
    sha256 = await sending.left("t")
    sending.peer.came[sha256] = DATA[:100_000]
    sending.peer.plan = first(1, (409, {"code": "wrong_offset", "offset": 100_000}))
    sending.start()
    await sending.until_state("t", "stored")
    assert sending.peer.came[sha256] == DATA


@pytest.mark.parametrize(
    "fault",
    [
        (401, {"code": "token_expired"}),
        (503, {"code": "busy"}),
        (507, {"code": "no_room"}),
        (400, {"code": "cut_off"}),
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
        0,
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_what_may_pass_is_tried_again_and_said(sending: Sending, fault: Fault, method: str) -> None:
    await sending.left("t")
    sending.peer.plan = first(3, fault, method)
    sending.start()
    await until("the problem is said", lambda: bool(sending.uploader.problem))
    await sending.until_state("t", "stored")
    await until("there is no problem", lambda: not sending.uploader.problem)


async def test_what_the_next_session_brings_goes_with_its_token(sending: Sending) -> None:
    await sending.left("t")
    sending.peer.plan = lambda _, asked: (
        (401, {"code": "token_expired"}) if asked.headers["authorization"] == "Bearer ops_old" else None
    )
    sending.start("ops_old")
    await until("the problem is said", lambda: bool(sending.uploader.problem))
    await sending.stop()
    assert sending.shelf.states() == {"t": "kept"}
    sending.start("ops_new")
    await sending.until_state("t", "stored")


async def test_what_was_spoilt_on_the_way_is_sent_again(sending: Sending) -> None:
    sha256 = await sending.left("t")

    def spoil(_: int, asked: Asked) -> Fault | None:
        if asked.method == "PATCH" and len(sending.peer.came.get(sha256, b"")) + 131_072 > len(DATA) and not spoilt:
            spoilt.append(True)
            sending.peer.came[sha256] = b""
            return (422, {"code": "wrong_sha256"})
        return None

    spoilt: list[bool] = []
    sending.peer.plan = spoil
    sending.start()
    await sending.until_state("t", "stored")
    assert spoilt
    assert sending.peer.came[sha256] == DATA


@pytest.mark.parametrize("code", ["wrong_sha256", "too_large"])
async def test_a_file_that_has_changed_on_the_disk_is_lost_and_says_so(sending: Sending, code: str) -> None:
    sha256 = await sending.left("t")
    sending.store.path(sha256).write_bytes(b"x" * len(DATA))
    sending.peer.plan = first(1, (422, {"code": code}))
    sending.start()
    await sending.until_state("t", "lost")
    assert sending.shelf.lost() == [("t", "its file has changed on the box's disk")]
    assert list(sending.shelf.root.iterdir()) == []


async def test_what_the_hub_never_takes_though_it_is_right_is_not_sent_without_end(sending: Sending) -> None:
    await sending.left("t")
    sending.rest(1e6, 1e6)
    sending.peer.plan = first(100, (422, {"code": "wrong_sha256"}))
    sending.start()
    await until("the problem is said", lambda: bool(sending.uploader.problem))
    assert len(sending.pieces()) == upload.MISMATCHES
    assert sending.shelf.states() == {"t": "kept"}


def refusing(sending: Sending, *refused: str, code: str, status: int) -> None:
    """The hub takes all but these contents."""

    def plan(_: int, asked: Asked) -> Fault | None:
        return (status, {"code": code}) if asked.method == "PATCH" and asked.path.endswith(refused) else None

    sending.peer.plan = plan


@pytest.mark.parametrize(("code", "status"), [("no_room", 507), ("quota", 507), ("wrong_sha256", 422)])
async def test_what_the_hub_does_not_take_holds_up_nothing_behind_it(sending: Sending, code: str, status: int) -> None:
    sha256 = await sending.left("large")
    sending.rest(1e6, 1e6)
    refusing(sending, sha256, code=code, status=status)
    sending.start()
    await sending.left("small", b"small")
    await sending.until_state("small", "stored")
    await sending.left("later", b"later")
    await sending.until_state("later", "stored")
    assert sending.shelf.states()["large"] == "kept"
    assert sending.uploader.problem == "d"


async def test_what_was_put_aside_is_tried_again_and_goes_when_there_is_room(sending: Sending) -> None:
    sha256 = await sending.left("large")
    refusing(sending, sha256, code="no_room", status=507)
    sending.start()
    await until("it was tried again", lambda: len(sending.pieces()) > 3)
    sending.peer.plan = lambda *_: None
    await sending.until_state("large", "stored")
    await until("there is no problem", lambda: not sending.uploader.problem)


async def test_where_one_had_no_room_none_that_is_as_large_is_tried(sending: Sending) -> None:
    large = [await sending.left(f"t{number}", bytes([number]) * 50_000) for number in range(5)]
    sending.rest(1e6, 1e6)
    refusing(sending, *large, code="quota", status=507)
    sending.start()
    await sending.left("small", b"small")
    await sending.until_state("small", "stored")
    assert sum(asked.path.endswith(tuple(large)) for asked in sending.pieces()) == 1


@pytest.mark.parametrize("loss", ["shorter", "gone"])
async def test_a_file_that_is_shorter_or_gone_is_lost_and_the_next_goes(sending: Sending, loss: str) -> None:
    sha256 = await sending.left("t")
    await sending.left("next", b"next")
    if loss == "gone":
        sending.store.path(sha256).unlink()
    else:
        os.truncate(sending.store.path(sha256), 1000)
    sending.start()
    await sending.until_state("next", "stored")
    assert sending.shelf.states()["t"] == "lost"


async def test_what_the_hub_does_not_know_any_more_is_lost(sending: Sending) -> None:
    await sending.left("t")
    sending.peer.plan = first(1, (404, {"code": "not_named"}), "GET")
    sending.start()
    await sending.until_state("t", "lost")
    assert sending.shelf.lost() == [("t", "the hub no longer keeps its task")]


async def test_a_session_that_ends_cuts_a_piece_at_once(sending: Sending) -> None:
    await sending.left("t")
    stuck = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        stuck.set()
        rest: Any = await reader.read()
        assert rest == b""
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    sending.peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sending.start()
    await asyncio.wait_for(stuck.wait(), 10)
    async with asyncio.timeout(1):
        await sending.stop()
    server.close()
    assert sending.shelf.states() == {"t": "kept"}


def test_pieces_grow_on_a_quick_link_and_shrink_on_a_slow_one() -> None:
    uploader = Uploader.__new__(Uploader)
    uploader._piece_bytes = upload.FIRST_PIECE_BYTES
    for _ in range(10):
        uploader._adapt(0.01)
    assert uploader._piece_bytes == upload.MOST_PIECE_BYTES
    for _ in range(10):
        uploader._adapt(9.0)
    assert uploader._piece_bytes == upload.LEAST_PIECE_BYTES
    uploader._adapt(2.0)
    assert uploader._piece_bytes == upload.LEAST_PIECE_BYTES

"""The connection to the hub's web port: whatever the other end does is one error, and it is quick."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from appliance import web
from appliance.web import WebConnection, WebFailed
from tests.system.plant import free_port
from tests.unit.appliance.web_peer import web_peer


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for piece in pieces:
        yield piece


async def test_one_connection_carries_one_request_after_the_other() -> None:
    async with web_peer("/prefix/") as peer:
        sha256 = peer.expect(b"abcdef")
        connection = await WebConnection.open(peer.url)
        first = await connection.ask("GET", f"/up/{sha256}", {"X-A": "1"})
        second = await connection.ask("PATCH", f"/up/{sha256}", {"Upload-Offset": "0"}, body(b"abc", b"def"), length=6)
        connection.close()
        assert (first.status, first.body["offset"]) == (200, 0)
        assert second.body["is_complete"] is True
        assert [asked.path for asked in peer.asked] == [f"/prefix/up/{sha256}"] * 2
        assert peer.asked[0].headers["x-a"] == "1"
        assert (peer.connections, peer.came[sha256]) == (1, b"abcdef")


async def test_nobody_there_is_told() -> None:
    with pytest.raises(WebFailed, match="onnect"):
        await WebConnection.open(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WebFailed):
        await WebConnection.open("http://no-such-host.invalid")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(200_000),
    ],
)
async def test_an_answer_that_is_none_is_told(answer: bytes) -> None:
    async with web_peer() as peer:
        peer.plan = lambda *_: answer
        connection = await WebConnection.open(peer.url)
        with pytest.raises(WebFailed):
            await connection.ask("GET", "/", {})
        connection.close()


async def test_an_answer_that_is_no_json_object_has_an_empty_body() -> None:
    async with web_peer() as peer:
        peer.plan = lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
        connection = await WebConnection.open(peer.url)
        answer = await connection.ask("GET", "/", {})
        connection.close()
        assert (answer.status, answer.body) == (200, {})


async def test_a_peer_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "STALL_S", 0.05)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.transport.abort()
        ended.set()

    ended = asyncio.Event()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    connection = await WebConnection.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(WebFailed, match="no answer"):
        await connection.ask("GET", "/", {}, answer_s=0.05)
    connection.close()
    await ended.wait()
    server.close()

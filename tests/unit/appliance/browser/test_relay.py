"""One connection to the proxy, as hostile clients and hostile sites would have it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from appliance.browser import relay
from appliance.browser.allow import AllowPolicy
from appliance.browser.http1 import HEAD_LIMIT_BYTES
from appliance.browser.proxy import CONNECTIONS_LIMIT, FilterProxy
from tests.unit.appliance.browser.sites import DEADLINE_S, Answer, Client, Site, names, site

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def reaching(answer: Answer | None = None, *, raw: bool = False) -> AsyncIterator[tuple[FilterProxy, Site]]:
    """A proxy and a site that may be reached by it."""
    made = site(raw=raw) if answer is None else site(answer, raw=raw)
    async with made as there:
        proxy = await FilterProxy.start(AllowPolicy.of(["127.0.0.1"]), resolver=names({}))
        try:
            yield proxy, there
        finally:
            await proxy.close()


def answering(data: bytes, *, close: bool = False) -> Answer:
    """A site's answer that is always this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            raise ConnectionError

    return answer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back all bytes, and its end after theirs."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def take_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a POST of ten bytes with them."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + await reader.readexactly(10))


async def test_requests_in_one_write_are_answered_in_turn() -> None:
    async with reaching() as (proxy, there), Client.of(proxy) as client:
        client.send("".join(f"GET http://{there.at}/{number} HTTP/1.1\r\n\r\n" for number in range(50)))
        for _ in range(50):
            assert await client.answer() == (200, b"hello")
        assert [head.split(b" ")[1] for head in there.heads] == [f"/{number}".encode() for number in range(50)]
        assert there.connections == 1


async def test_a_second_request_behind_a_body_is_judged_like_the_first() -> None:
    async with reaching(take_body) as (proxy, there), Client.of(proxy) as client:
        hidden = "GET http://127.0.0.2/ HTTP/1.1\r\n\r\n"
        client.send(f"POST http://{there.at}/ HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789{hidden}")
        assert await client.answer() == (200, b"0123456789")
        assert (await client.answer())[0] == 403
        assert there.connections == 1


async def test_one_connection_serves_several_sites_and_never_mixes_them() -> None:
    another = site(answering(OK.replace(b"hello", b"other")))
    async with reaching() as (proxy, there), another as other, Client.of(proxy) as client:
        for _ in range(3):
            assert await client.get(f"http://{there.at}/") == (200, b"hello")
            assert await client.get(f"http://{other.at}/") == (200, b"other")


async def test_two_names_of_one_place_share_no_connection() -> None:
    async with reaching() as (proxy, there), Client.of(proxy) as client:
        for host in ("127.0.0.1", "localhost", "127.0.0.1"):
            assert await client.get(f"http://{host}:{there.port}/") == (200, b"hello")
        assert (await client.get(f"http://127.0.0.2:{there.port}/"))[0] == 403
        assert there.connections == 3


async def test_what_a_site_says_unasked_is_nobodys_answer() -> None:
    forging = reaching(answering(OK + OK.replace(b"hello", b"forge")))
    async with forging as (proxy, there), site() as other, Client.of(proxy) as client:
        assert await client.get(f"http://{there.at}/") == (200, b"hello")
        assert await client.get(f"http://{there.at}/") == (200, b"hello")
        assert await client.get(f"http://{other.at}/") == (200, b"hello")
        assert there.connections == 2


async def test_what_a_site_says_after_its_answer_is_nobodys_answer() -> None:
    told, dropped = asyncio.Event(), asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if not told.is_set():
            await told.wait()
            writer.write(OK.replace(b"hello", b"forge"))
            try:
                await reader.read()
            finally:
                dropped.set()

    async with reaching(late) as (proxy, there), Client.of(proxy) as client:
        assert await client.get(f"http://{there.at}/") == (200, b"hello")
        told.set()
        async with asyncio.timeout(DEADLINE_S):
            await dropped.wait()
        assert await client.get(f"http://{there.at}/") == (200, b"hello")
        assert there.connections == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_LIMIT_BYTES, 502),
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 502),
    ],
)
async def test_an_answer_that_is_none_is_said_to_be(answer: bytes, status: int) -> None:
    async with reaching(answering(answer, close=True)) as (proxy, there), Client.of(proxy) as client:
        assert (await client.get(f"http://{there.at}/"))[0] == status
        assert proxy.explain(f"http://{there.at}/x")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    ],
)
async def test_a_cut_answer_is_not_passed_off_as_whole(answer: bytes) -> None:
    async with reaching(answering(answer, close=True)) as (proxy, there), Client.of(proxy) as client:
        client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await client.reader.readuntil(b"the end that never comes")


async def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    old = answering(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True)
    async with reaching(old) as (proxy, there), Client.of(proxy) as client:
        client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


async def test_an_answer_that_ends_with_a_broken_connection_is_not_whole() -> None:
    broken = asyncio.Event()

    async def breaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await broken.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with reaching(breaking) as (proxy, there), Client.of(proxy) as client:
        client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await client.reader.readuntil(b"hello")
            broken.set()
            with pytest.raises(ConnectionResetError):
                await client.reader.read()


async def test_hints_come_before_their_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with reaching(answering(hints * 2 + OK)) as (proxy, there), Client.of(proxy) as client:
        client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
        assert await client.head() == hints
        assert await client.head() == hints
        assert await client.answer() == (200, b"hello")


async def test_an_answer_has_no_body_where_its_request_allows_none() -> None:
    bodiless = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    async with reaching(bodiless) as (proxy, there), Client.of(proxy) as client:
        for _ in range(2):
            client.send(f"HEAD http://{there.at}/ HTTP/1.1\r\n\r\n")
            assert b"Content-Length: 5" in await client.head()


async def test_a_site_that_let_go_of_an_idle_connection_is_tried_anew() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        raise ConnectionError

    async with reaching(once) as (proxy, there), Client.of(proxy) as client:
        assert await client.get(f"http://{there.at}/") == (200, b"hello")
        async with asyncio.timeout(DEADLINE_S):
            answer = await client.get(f"http://{there.at}/")
        assert answer == (200, b"hello")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET http://127.0.0.1%00.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://127.0.0.1:80:80/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[::1%25lo]/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://127.0.0.1@127.0.0.2/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET http://x/ HTTP/3.0\r\n\r\n", 505),
        (b"GET http://x/ HTTP/1.1\r\nX: " + b"x" * HEAD_LIMIT_BYTES, 431),
        (b"CONNECT 127.0.0.2:25 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT 127.0.0.2:65536 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT 0x7f.2:80 HTTP/1.1\r\n\r\n", 403),
    ],
)
async def test_a_malformed_request_is_refused_and_ends_the_connection(request_: bytes, status: int) -> None:
    async with reaching() as (proxy, there), Client.of(proxy) as client:
        client.send(request_)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in answer
        assert there.connections == 0


async def test_the_host_of_the_url_is_what_its_site_hears() -> None:
    async with reaching() as (proxy, there), Client.of(proxy) as client:
        assert (await client.get(f"http://{there.at}/", "Host: evil.example", "X: 1"))[0] == 200
        hosts = [line for line in there.heads[0].split(b"\r\n") if line.lower().startswith(b"host:")]
        assert hosts == [f"Host: {there.at}".encode()]


async def test_a_refusal_is_read_even_where_a_large_body_is_on_its_way() -> None:
    async with reaching() as (proxy, _), Client.of(proxy) as client:
        client.send(b"POST http://127.0.0.2/ HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        assert (await client.answer())[0] == 403


async def test_a_tunnel_carries_both_ways_and_each_end_by_itself() -> None:
    async with reaching(echo, raw=True) as (proxy, there), Client.of(proxy) as client:
        assert await client.tunnel(there.at) == 200
        data = bytes(range(256)) * 8000

        async def send() -> None:
            client.send(data)
            await client.writer.drain()
            client.writer.write_eof()

        sending = asyncio.create_task(send())
        assert await client.rest() == data
        await sending


async def test_a_site_that_speaks_first_is_heard() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")

    async with reaching(greet, raw=True) as (proxy, there), Client.of(proxy) as client:
        assert await client.tunnel(there.at) == 200
        assert await client.rest() == b"220 hello\r\n"


async def test_bytes_behind_connect_go_into_the_tunnel() -> None:
    async with reaching(echo, raw=True) as (proxy, there), Client.of(proxy) as client:
        client.send(f"CONNECT {there.at} HTTP/1.1\r\n\r\nearly")
        assert b" 200 " in await client.head()
        client.writer.write_eof()
        assert await client.rest() == b"early"


# More than the kernel buffers for two connections.
HELD_BYTES = 128 * 1024 * 1024


class Flow:
    """Counts what goes into a connection until no more will."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.stuck = asyncio.Event()

    async def fill(self, writer: asyncio.StreamWriter) -> None:
        """Writes for as long as it is taken."""
        while not self.stuck.is_set() and self.sent_bytes < HELD_BYTES:
            writer.write(b"x" * 65536)
            self.sent_bytes += 65536
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                self.stuck.set()


async def test_a_client_that_does_not_read_stops_its_site_and_not_the_box() -> None:
    flow = Flow()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        await flow.fill(writer)

    async with reaching(endless) as (proxy, there), Client.of(proxy) as client:
        client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
        await client.head()
        async with asyncio.timeout(DEADLINE_S):
            await flow.stuck.wait()
        assert flow.sent_bytes < HELD_BYTES


async def test_a_site_that_does_not_read_stops_its_client() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    flow = Flow()
    async with reaching(deaf, raw=True) as (proxy, there), Client.of(proxy) as client:
        assert await client.tunnel(there.at) == 200
        async with asyncio.timeout(DEADLINE_S):
            await flow.fill(client.writer)
        assert flow.sent_bytes < HELD_BYTES


async def test_a_head_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HEAD_DEADLINE_S", 0.1)
    async with reaching() as (proxy, _), Client.of(proxy) as quiet, Client.of(proxy) as slow:
        slow.send("GET http://")
        for client in (quiet, slow):
            assert await client.rest() == b""


async def test_a_client_that_leaves_requests_behind_is_seen_to_leave() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await reader.read()
        finally:
            left.set()

    for count in (2, 10_000):
        asked.clear()
        left.clear()
        async with reaching(silent) as (proxy, there), Client.of(proxy) as client:
            client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n" * count)
            async with asyncio.timeout(DEADLINE_S):
                await asked.wait()
                # Few are kept for their turn; with many it is the proxy that ends it.
                if count == 2:
                    client.writer.close()
                await left.wait()


async def test_half_a_tunnel_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HALF_CLOSED_S", 0.1)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()

    async with reaching(silent, raw=True) as (proxy, there), Client.of(proxy) as client:
        assert await client.tunnel(there.at) == 200
        client.writer.write_eof()
        assert await client.rest() == b""


async def test_only_so_many_connections_are_held() -> None:
    async with reaching() as (proxy, _), Client.of(proxy) as first:
        others = [
            await asyncio.open_connection("127.0.0.1", int(proxy.server.rpartition(":")[2]))
            for _ in range(CONNECTIONS_LIMIT)
        ]
        try:
            assert await Client(*others[-1]).rest() == b""
            first.send("GET http://127.0.0.2/ HTTP/1.1\r\n\r\n")
            assert (await first.answer())[0] == 403
        finally:
            for _, writer in others:
                writer.transport.abort()


async def test_a_client_that_leaves_takes_its_site_along() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await reader.read()
        finally:
            left.set()

    for raw in (True, False):
        asked.clear()
        left.clear()
        async with reaching(waiting, raw=raw) as (proxy, there), Client.of(proxy) as client:
            if raw:
                assert await client.tunnel(there.at) == 200
            else:
                client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
                async with asyncio.timeout(DEADLINE_S):
                    await asked.wait()
            client.writer.transport.abort()
            async with asyncio.timeout(DEADLINE_S):
                await left.wait()

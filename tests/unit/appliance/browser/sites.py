"""Sites of raw sockets, a client of raw sockets, and a resolver, for the proxy's tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from appliance.browser.dial import Resolver
from appliance.browser.errors import Unreachable
from appliance.browser.proxy import FilterProxy
from cloudsync.hosts import Address

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DEADLINE_S = 10.0


@dataclass
class Site:
    """A listener that records how often it was connected to."""

    host: str
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)

    @property
    def at(self) -> str:
        """Its host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with `hello`; `Site` reads the heads."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@asynccontextmanager
async def site(answer: Answer = hello, host: str = "127.0.0.1", *, raw: bool = False) -> AsyncIterator[Site]:
    """A site that gives `answer` to each head that comes, or with `raw` to each connection."""
    made = Site(host)
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        open_writers.add(writer)
        try:
            if raw:
                await answer(reader, writer)
            while not raw:
                made.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            open_writers.discard(writer)

    server = await asyncio.start_server(serve, host, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in tuple(open_writers):
            writer.transport.abort()


def names(known: Mapping[str, Sequence[str] | Callable[[], Sequence[str]]]) -> Resolver:
    """A resolver that knows these names; a function is asked anew at each look-up."""

    async def resolve(name: str) -> Sequence[Address]:
        answer = known.get(name)
        if answer is None:
            raise Unreachable(f"{name}: has no address")
        return [ip_address(text) for text in (answer() if callable(answer) else answer)]

    return resolve


class Client:
    """A connection to a proxy that sends whatever a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def of(cls, proxy: FilterProxy) -> AsyncIterator["Client"]:
        """Connected to a proxy."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.server.rpartition(":")[2]))
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def send(self, data: bytes | str) -> None:
        """Sends as it is."""
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    async def head(self) -> bytes:
        """The head of an answer."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def get(self, url: str, *headers: str) -> tuple[int, bytes]:
        """Status and body of a GET whose answer says its length."""
        self.send("\r\n".join((f"GET {url} HTTP/1.1", "Host: x", *headers, "", "")))
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer that says its length."""
        head = await self.head()
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        async with asyncio.timeout(DEADLINE_S):
            body = await self.reader.readexactly(int(lengths[0].split(b":")[1]))
        return int(head.split(b" ")[1]), body

    async def tunnel(self, at: str) -> int:
        """The status of the answer to CONNECT."""
        self.send(f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n")
        return int((await self.head()).split(b" ")[1])

    async def rest(self) -> bytes:
        """All that comes until the proxy closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

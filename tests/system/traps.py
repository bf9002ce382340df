"""Listeners that nobody may reach, and the site from which a page tries to."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_TRAPPED: Final = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx"
)


@dataclass(eq=False)
class Trap:
    """What reached a port: the paths of requests, and of the rest the number of connections and datagrams."""

    changed: asyncio.Event
    port: int = 0
    paths: set[str] = field(default_factory=set)
    requests: int = 0
    connections: int = 0
    datagrams: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Notes a connection and what is asked over it."""
        self.connections += 1
        self.changed.set()
        try:
            while True:
                head = await _request(reader)
                self.requests += 1
                self.paths.add(head.split(b" ")[1].decode())
                self.changed.set()
                if b"Upgrade: websocket" in head:
                    break
                writer.write(_TRAPPED)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The head of a request, whose body is read and forgotten."""
    head = await reader.readuntil(b"\r\n\r\n")
    if length := _LENGTH.search(head):
        await reader.readexactly(int(length[1]))
    return head


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, trap: Trap) -> None:
        self._trap = trap

    def datagram_received(self, data: bytes, addr: object) -> None:
        del data, addr
        self._trap.datagrams += 1
        self._trap.changed.set()


@asynccontextmanager
async def trap(hosts: Sequence[str], changed: asyncio.Event) -> AsyncIterator[Trap]:
    """Listens for TCP and UDP on one port of all these addresses."""
    async with AsyncExitStack() as stack:
        while True:
            made = Trap(changed)
            async with AsyncExitStack() as attempt:
                # A port that is free on the first address may be taken on another.
                with suppress(OSError):
                    for host in hosts:
                        await _listen(made, host, attempt)
                    stack.push_async_exit(attempt.pop_all())
                    break
        yield made


async def _listen(made: Trap, host: str, stack: AsyncExitStack) -> None:
    server = await asyncio.start_server(made.serve, host, made.port)
    stack.callback(server.close)
    made.port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(made), local_addr=(host, made.port)
    )
    stack.callback(transport.close)


async def _as_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request as its own query says: status, to, refresh, csp, html, script."""
    try:
        while True:
            head = await _request(reader)
            wanted = {key: values[0] for key, values in parse_qs(urlsplit(head.split(b" ")[1].decode()).query).items()}
            body = wanted.get("script", wanted.get("html", "<body>site")).encode()
            kind = "text/javascript" if "script" in wanted else "text/html"
            lines = [f"HTTP/1.1 {wanted.get('status', '200')} X", f"Content-Type: {kind}; charset=utf-8"]
            lines += ["Service-Worker-Allowed: /", f"Content-Length: {len(body)}"]
            lines += [f"Location: {wanted['to']}"] if "to" in wanted else []
            lines += [f"Refresh: 0;url={wanted['refresh']}"] if "refresh" in wanted else []
            lines += [f"Content-Security-Policy: {wanted['csp']}"] if "csp" in wanted else []
            writer.write("\r\n".join((*lines, "", "")).encode() + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def site() -> AsyncIterator[int]:
    """The port, on 127.0.0.1, of a site that answers as it is asked."""
    server = await asyncio.start_server(_as_asked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()

"""One connection that a browser made to its proxy: requests in turn to the sites they are for, or a tunnel to one."""

import asyncio
import html
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol, cast

from appliance.browser.allow import Verdict
from appliance.browser.errors import MessageWrong, Unreachable
from appliance.browser.http1 import (
    HEAD_LIMIT_BYTES,
    MARKER,
    Request,
    Response,
    UntilClose,
    head_end,
    read_request,
    read_response,
)
from cloudsync.hosts import Address, Host, parse_host

# A browser writes a head at once; a client that trickles one holds a connection no longer than this.
HEAD_DEADLINE_S: Final = 20.0
# Browsers let go of an unused connection after 300 s at the latest.
IDLE_DEADLINE_S: Final = 330.0
# One direction of a tunnel may end before the other; then that one has this long.
HALF_CLOSED_S: Final = 60.0
# How long a request that was turned down may go on being sent.
LINGER_S: Final = 2.0
HTTP_PORT: Final = 80

# socket(7): with SO_LINGER on and no time to linger, the end of a connection is a reset.
_RESET: Final = struct.pack("ii", 1, 0)
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_REASONS: Final = {
    400: b"Bad Request",
    403: b"Forbidden",
    431: b"Request Header Fields Too Large",
    502: b"Bad Gateway",
    505: b"HTTP Version Not Supported",
}


class Gate(Protocol):
    """What a connection asks its proxy."""

    def admit(self, relay: "Relay") -> bool:
        """Whether the connection may stay."""

    def leave(self, relay: "Relay") -> None:
        """It has ended."""

    def judged(self, host: Host, port: int) -> Verdict | None:
        """Whether a request may go where it wants; None where that takes a look-up."""

    async def judge(self, host: Host, port: int) -> Verdict:
        """The same, with the look-up. Raises `Unreachable`."""

    def refused(self, host: Host, port: int, reason: str) -> None:
        """Notes a request that was refused."""

    def failed(self, host: Host, port: int, reason: str) -> None:
        """Notes a request that could not be sent, or was not answered."""

    async def dial(self, addresses: Sequence[Address], port: int, make: "Callable[[], Site]") -> "Site":
        """A connection to one of these addresses. Raises `Unreachable`."""


class _State(Enum):
    HEAD = auto()  # waits for a request, or is idle
    OPENING = auto()  # its request is judged and connected
    EXCHANGE = auto()  # a request goes one way, its answer the other
    TUNNEL = auto()  # bytes go both ways
    LINGER = auto()  # has been turned down; what still comes is thrown away, so that the answer is read
    CLOSED = auto()


class Site(asyncio.Protocol):
    """The connection to a site, on behalf of one `Relay`."""

    transport: asyncio.Transport

    def __init__(self, relay: "Relay", host: Host, port: int) -> None:
        self.host = host
        self.port = port
        self.answered = False
        """Whether an answer has come over it before."""
        self.early: bytearray | None = bytearray()
        """What came before the relay had it; None from then on."""
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self.early is None:
            self._relay.from_site(self, data)
        else:
            self.early += data

    def eof_received(self) -> bool:
        return self._relay.site_ended(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.site_lost(self, exc)

    def pause_writing(self) -> None:
        self._relay.transport.pause_reading()

    def resume_writing(self) -> None:
        self._relay.transport.resume_reading()


@dataclass(slots=True)
class _Exchange:
    request: Request
    site: Site
    response: Response | None = None
    head: bytearray = field(default_factory=bytearray)
    """The head of the answer, as far as it came."""

    @property
    def last(self) -> bool:
        """Whether the browser's connection ends with it."""
        return not self.request.keep_alive or (self.response is not None and isinstance(self.response.body, UntilClose))


class Relay(asyncio.Protocol):
    """The browser's end."""

    transport: asyncio.Transport

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._state = _State.HEAD
        self._buffer = bytearray()  # from the browser, not yet looked at
        self._site: Site | None = None
        self._exchange: _Exchange | None = None
        self._opening: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._half_closed = False
        self._choked = False  # more was written to the browser than it reads

    # The browser's connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._gate.admit(self):
            self._wait(HEAD_DEADLINE_S)
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        match self._state:
            case _State.TUNNEL if self._site is not None:
                self._site.transport.write(data)
            case _State.EXCHANGE if self._exchange is not None and not self._buffer:
                self._pass_on(self._exchange, data)
            case _State.HEAD:
                if not self._buffer:
                    self._wait(HEAD_DEADLINE_S)
                self._buffer += data
                self._read_head()
            case _State.OPENING:
                self._buffer += data
                self.transport.pause_reading()
            case _State.EXCHANGE:
                self._keep(data)
            case _State.TUNNEL | _State.LINGER | _State.CLOSED:
                pass

    def eof_received(self) -> bool:
        if self._state is _State.TUNNEL and self._site is not None:
            return self._half_close(self._site.transport)
        # A browser never ends its side before it has the answer.
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        graceful = self._state is _State.TUNNEL and exc is None
        self._state = _State.CLOSED
        self._gate.leave(self)
        self._wait(None)
        if self._opening is not None:
            self._opening.cancel()
        self._exchange = None
        self._drop_site(graceful=graceful)

    def pause_writing(self) -> None:
        self._choked = True
        if self._site is not None:
            self._site.transport.pause_reading()

    def resume_writing(self) -> None:
        self._choked = False
        if self._site is not None:
            self._site.transport.resume_reading()
        if self._state is _State.HEAD and self._buffer:
            self._read_head()

    def abort(self) -> None:
        """Breaks it at once; an answer that would end with its connection must not look whole."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # A request.

    def _read_head(self) -> None:
        """Starts on the request that the buffer begins with, once its head is whole."""
        try:
            end = _head_end_within(self._buffer, "the request", 431)
            if end < 0:
                return
            self._wait(None)
            head = bytes(self._buffer[:end])
            del self._buffer[:end]
            request = read_request(head)
            host = parse_host(request.host)
        except (MessageWrong, ValueError) as error:
            self._turn_down(error.status if isinstance(error, MessageWrong) else 400, "malformed", str(error))
            return
        site = self._site
        # A new policy ends every connection: this one was made under the present one.
        if site is not None and (site.host, site.port) == (host, request.port) and not request.tunnel:
            self._send(request, site)
            return
        self._drop_site()
        verdict = self._gate.judged(host, request.port)
        if verdict is not None and not verdict.addresses:
            self._refuse(host, request.port, verdict.reason)
            return
        self._state = _State.OPENING
        self._opening = asyncio.create_task(self._open(request, host, verdict))

    async def _open(self, request: Request, host: Host, verdict: Verdict | None) -> None:
        try:
            if verdict is None:
                verdict = await self._gate.judge(host, request.port)
            if not verdict.addresses:
                self._refuse(host, request.port, verdict.reason)
                return
            site = await self._gate.dial(verdict.addresses, request.port, lambda: Site(self, host, request.port))
        except Unreachable as error:
            self._fail(host, request.port, str(error))
            return
        finally:
            self._opening = None
        if self._state is not _State.OPENING or site.transport.is_closing():
            site.transport.abort()
            self.abort()
            return
        self._site = site
        early, site.early = site.early, None
        if request.tunnel:
            self._state = _State.TUNNEL
            self.transport.write(_ESTABLISHED)
            site.transport.write(bytes(self._buffer))
            self._buffer.clear()
        else:
            self._send(request, site)
        if early:
            self.from_site(site, bytes(early))
        if not self._choked:
            site.transport.resume_reading()
        self.transport.resume_reading()

    def _send(self, request: Request, site: Site) -> None:
        """Sends a request, and from then on its body; its answer comes to `from_site`."""
        self._state = _State.EXCHANGE
        exchange = self._exchange = _Exchange(request, site)
        authority = f"{request.host}:{request.port}" if request.port != HTTP_PORT else request.host
        site.transport.write(request.head(authority.encode("ascii")))
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._pass_on(exchange, data)

    def _pass_on(self, exchange: _Exchange, data: bytes) -> None:
        """Sends of `data` what belongs to the request, and keeps the rest for after its answer."""
        try:
            taken = exchange.request.body.take(data)
        except MessageWrong:
            # The site has half of it already: neither side can go on.
            self.abort()
            return
        if taken:
            exchange.site.transport.write(data[:taken])
        if taken < len(data):
            self._keep(data[taken:])

    def _keep(self, data: bytes) -> None:
        """Keeps requests that came before their turn. Reading goes on, or nobody would see the browser leave."""
        self._buffer += data
        if len(self._buffer) > HEAD_LIMIT_BYTES:
            self.abort()

    # The site's connection.

    def from_site(self, site: Site, data: bytes) -> None:
        """Bytes came from a site."""
        if site is not self._site:
            site.transport.abort()
        elif self._state is _State.TUNNEL:
            self.transport.write(data)
        elif self._exchange is None:
            # Nobody asked for it, and nobody may take it for the next answer.
            self._drop_site()
        else:
            try:
                self._answered(self._exchange, data)
            except MessageWrong as error:
                if self._exchange.response is None:
                    self._fail(site.host, site.port, str(error))
                else:
                    self.abort()

    def _answered(self, exchange: _Exchange, data: bytes) -> None:
        head = b""
        while exchange.response is None:
            exchange.head += data
            end = _head_end_within(exchange.head, "the site's answer", lenient=True)
            if end < 0:
                self.transport.write(head)
                return
            response = read_response(bytes(exchange.head[:end]), exchange.request.method)
            data = bytes(exchange.head[end:])
            exchange.head.clear()
            if response.status >= 200:
                exchange.response = response
            head += response.head(close=response.status >= 200 and exchange.last)
        response = exchange.response
        taken = response.body.take(data)
        self.transport.write(head + data[:taken] if head or taken < len(data) else data)
        if response.body.ended:
            if taken < len(data) or not response.keep_alive:
                self._drop_site()
            self._finish(exchange)

    def _finish(self, exchange: _Exchange) -> None:
        """The answer is complete: the connection is there for the next request, or ends."""
        self._exchange = None
        if exchange.last or not exchange.request.body.ended:
            self._end()
            return
        exchange.site.answered = True
        self._state = _State.HEAD
        self._wait(IDLE_DEADLINE_S)
        self.transport.resume_reading()
        if self._buffer and not self._choked:
            self._read_head()

    def site_ended(self, site: Site) -> bool:
        """A site says that it will send no more; whether its connection stays."""
        if site is self._site and self._state is _State.TUNNEL:
            return self._half_close(self.transport)
        return False

    def site_lost(self, site: Site, exc: Exception | None) -> None:
        """A site's connection has ended."""
        if site is not self._site:
            return
        self._site = None
        exchange = self._exchange
        if self._state is _State.TUNNEL:
            self._end() if exc is None else self.abort()
        elif exchange is None:
            return
        elif exchange.response is not None:
            # An answer that ends with its connection is whole; any other is cut, and must be seen to be.
            self._end() if exc is None and isinstance(exchange.response.body, UntilClose) else self.abort()
        elif site.answered:
            # It let go just as the request came. A browser tries again by itself where it sees no answer at all.
            self.abort()
        else:
            self._fail(site.host, site.port, "the site closed the connection without an answer")

    # The end.

    def _half_close(self, other: asyncio.Transport) -> bool:
        """One direction has ended; whether the connection that it came from stays open for the other."""
        if self._half_closed or not other.can_write_eof() or other.is_closing():
            return False
        self._half_closed = True
        other.write_eof()
        self._wait(HALF_CLOSED_S)
        return True

    def _refuse(self, host: Host, port: int, reason: str) -> None:
        self._gate.refused(host, port, reason)
        self._turn_down(403, "blocked", reason)

    def _fail(self, host: Host, port: int, reason: str) -> None:
        self._gate.failed(host, port, reason)
        self._turn_down(502, "unreachable", reason)

    def _turn_down(self, status: int, kind: str, message: str) -> None:
        """Answers in the site's stead, and ends."""
        if self._state is _State.CLOSED or self.transport.is_closing():
            return
        self._exchange = None
        self._drop_site()
        self._buffer.clear()
        self._state = _State.LINGER
        self.transport.resume_reading()
        self.transport.write(_page(status, kind, message))
        self.transport.write_eof()
        self._wait(LINGER_S)

    def _end(self) -> None:
        """Ends it once all was sent, or the browser has had long enough to read it."""
        self._drop_site()
        self.transport.close()
        self._wait(HALF_CLOSED_S)

    def _drop_site(self, *, graceful: bool = False) -> None:
        site, self._site = self._site, None
        if site is not None:
            (site.transport.close if graceful else site.transport.abort)()

    def _wait(self, seconds: float | None) -> None:
        """Ends it after so long, unless something happens before."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)


def _head_end_within(buffer: bytearray, whose: str, status: int = 502, *, lenient: bool = False) -> int:
    end = head_end(buffer, lenient=lenient)
    if (end if end >= 0 else len(buffer)) > HEAD_LIMIT_BYTES:
        raise MessageWrong(f"the head of {whose} is too large", status)
    return end


def _page(status: int, kind: str, message: str) -> bytes:
    """The proxy's own answer, which a page can neither read, nor frame, nor keep."""
    title = "Blocked" if kind == "blocked" else "No answer"
    body = (
        f"<!doctype html><meta charset=utf-8><title>{title}</title>"
        f"<style>body{{font:16px sans-serif;margin:3em}}</style><h1>{title}</h1><p>{html.escape(message)}</p>\n"
    ).encode()
    lines = [
        b"HTTP/1.1 %d %b" % (status, _REASONS[status]),
        b"%b: %b" % (MARKER, kind.encode()),
        b"Content-Type: text/html; charset=utf-8",
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
        b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        b"Cross-Origin-Resource-Policy: same-origin",
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body

"""Connects to sites: looks a name up once, and connects to just the addresses that were checked."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Self, TypeVar, cast
from urllib.parse import urlsplit

from appliance.browser.allow import known_addresses
from appliance.browser.errors import MessageWrong, Unreachable
from appliance.browser.http1 import head_end
from cloudsync.hosts import Address, parse_host

Resolver = Callable[[str], Awaitable[Sequence[Address]]]
"""All addresses of a name; raises `Unreachable`."""

_Site = TypeVar("_Site", bound=asyncio.Protocol)

LOOKUP_DEADLINE_S: Final = 10.0
# Two of resolv.conf's usual 5 s tries fit in; each look-up in progress holds a thread.
LOOKUPS_AT_ONCE: Final = 16
CONNECT_DEADLINE_S: Final = 15.0
# RFC 8305, section 5: the next address is tried beside the one that does not answer.
NEXT_ADDRESS_S: Final = 0.25
UPSTREAM_HEAD_LIMIT_BYTES: Final = 16 * 1024

_lookups = threading.BoundedSemaphore(LOOKUPS_AT_ONCE)


async def resolve(name: str) -> Sequence[Address]:
    """The addresses that the box's own resolver knows, best first. Raises `Unreachable`."""
    if not _lookups.acquire(blocking=False):
        raise Unreachable(f"too many names are looked up at once; {name} was not")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[Address]] = loop.create_future()

    def settle(addresses: Sequence[Address] | None, problem: str) -> None:
        if found.done():
            return
        if addresses:
            found.set_result(addresses)
        else:
            found.set_exception(Unreachable(f"{name}: {problem}"))

    def look_up() -> None:
        addresses: list[Address] = []
        problem = "has no address"
        try:
            for *_, where in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
                text = str(where[0])
                if "%" not in text:
                    addresses.append(ip_address(text))
        except (OSError, UnicodeError) as error:
            problem = getattr(error, "strerror", None) or "is no name that can be looked up"
        finally:
            _lookups.release()
        # The loop may have ended while the resolver waited.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, addresses, problem)

    # A daemon thread: a resolver that hangs must not keep the process from ending.
    threading.Thread(target=look_up, name="lookup", daemon=True).start()
    try:
        async with asyncio.timeout(LOOKUP_DEADLINE_S):
            return await found
    except TimeoutError:
        raise Unreachable(f"{name}: no answer from the resolver in {LOOKUP_DEADLINE_S:.0f} s") from None


async def connect(make: Callable[[], _Site], addresses: Sequence[Address], port: int) -> _Site:
    """A connection to the first of these addresses that answers. Raises `Unreachable`."""
    loop = asyncio.get_running_loop()
    tries: dict[asyncio.Task[socket.socket], Address] = {}
    waiting = list(addresses)
    problem = "no address"
    chosen: socket.socket | None = None
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            while chosen is None and (waiting or tries):
                if waiting:
                    address = waiting.pop(0)
                    tries[asyncio.create_task(_connected(address, port))] = address
                done, _ = await asyncio.wait(
                    tries, timeout=NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    address = tries.pop(attempt)
                    error = attempt.exception()
                    if error is None and chosen is None:
                        chosen = attempt.result()
                    elif error is None:
                        attempt.result().close()
                    else:
                        number = error.errno if isinstance(error, OSError) else None
                        problem = f"{address} port {port}: {error if number is None else os.strerror(number)}"
    except TimeoutError:
        raise Unreachable(f"no answer in {CONNECT_DEADLINE_S:.0f} s from port {port}") from None
    finally:
        for attempt in tries:
            attempt.cancel()
            attempt.add_done_callback(_discard)
    if chosen is None:
        raise Unreachable(problem)
    _, site = await loop.create_connection(make, sock=chosen)
    return site


async def _connected(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def _discard(attempt: "asyncio.Task[socket.socket]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


@dataclass(frozen=True, slots=True)
class Upstream:
    """A proxy through which everything that was allowed goes; it is asked for addresses, never for names."""

    host: str
    port: int
    secure: bool = False
    authorization: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, server: str, username: str | None = None, password: str | None = None) -> Self:
        """The proxy that a task names. Raises `ValueError` with a sentence."""
        parts = urlsplit(server if "://" in server else f"http://{server}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a proxy is http://HOST:PORT or https://HOST:PORT")
        if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("a proxy's server is a scheme, a host and a port alone; its credentials are fields")
        secure = parts.scheme == "https"
        authorization = b""
        if username is not None:
            authorization = b"Basic " + b64encode(f"{username}:{password or ''}".encode())
        return cls(parts.hostname, parts.port or (443 if secure else 80), secure, authorization)

    def request(self, address: Address, port: int) -> bytes:
        """What asks it for a connection to a checked address."""
        where = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        lines = [f"CONNECT {where} HTTP/1.1".encode(), f"Host: {where}".encode()]
        if self.authorization:
            lines.append(b"Proxy-Authorization: " + self.authorization)
        return b"\r\n".join(lines) + b"\r\n\r\n"


async def connect_through(
    upstream: Upstream, make: Callable[[], _Site], address: Address, port: int, resolver: Resolver = resolve
) -> _Site:
    """A connection to a checked address through another proxy. Raises `Unreachable`."""
    host = parse_host(upstream.host if ":" not in upstream.host else f"[{upstream.host}]")
    addresses = known_addresses(host) or await resolver(upstream.host)
    asked = await connect(_Asked, addresses, upstream.port)
    transport = asked.transport
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            if upstream.secure:
                context = ssl.create_default_context()
                secured = await asyncio.get_running_loop().start_tls(
                    transport, asked, context, server_hostname=upstream.host
                )
                transport = cast(asyncio.Transport, secured)
            transport.write(upstream.request(address, port))
            rest = await asked.answer
    except (OSError, TimeoutError, MessageWrong) as error:
        transport.abort()
        raise Unreachable(f"the proxy {upstream.host}:{upstream.port}: {str(error) or 'no answer in time'}") from None
    except asyncio.CancelledError:
        transport.abort()
        raise
    site = make()
    transport.set_protocol(site)
    site.connection_made(transport)
    if rest:
        site.data_received(rest)
    return site


class _Asked(asyncio.Protocol):
    """Waits for another proxy's answer to CONNECT; `answer` gives what came behind it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = head_end(self._buffer)
        if self.answer.done():
            return
        if end < 0:
            if len(self._buffer) > UPSTREAM_HEAD_LIMIT_BYTES:
                self.answer.set_exception(MessageWrong("it does not answer as a proxy does", 502))
            return
        status = self._buffer[:end].split(b" ", 2)[1:2]
        if status and status[0][:1] == b"2":
            self.answer.set_result(bytes(self._buffer[end:]))
        else:
            line = bytes(self._buffer.split(b"\r\n", 1)[0][:200]).decode("ascii", "replace")
            self.answer.set_exception(MessageWrong(f"it answered {line!r}", 502))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("it closed the connection"))
            # Nobody waits where the connection failed while TLS was still being spoken.
            self.answer.exception()

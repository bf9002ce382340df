"""A connection to the hub's web port, for what is too large for the session: HTTP/1.1 in the box's own loop.

Written upon h11 and streams, so that a transfer can be cut at any byte, by either end or by whoever stops the box.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import h11

CONNECT_S: Final = 15.0
# Without a byte taken or given the connection is dead.
STALL_S: Final = 30.0
ANSWER_LIMIT_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024


class WebFailed(Exception):
    """The connection broke, or what answered does not speak HTTP; another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the JSON object of the body; empty where it is none."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)


class WebConnection:
    """One open connection, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, base: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._base = base
        self._machine = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to a hub's web address; `WebFailed` where that does not work."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(
                    parts.hostname,
                    parts.port or (443 if is_tls else 80),
                    ssl=ssl.create_default_context() if is_tls else None,
                )
        except TimeoutError as error:
            raise WebFailed(f"no connection within {CONNECT_S:g} s") from error
        except (OSError, ValueError) as error:
            raise WebFailed(getattr(error, "strerror", None) or str(error)) from error
        return cls(reader, writer, parts.netloc, parts.path.rstrip("/"))

    def close(self) -> None:
        """Drop it, whatever is on its way."""
        self._writer.transport.abort()

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: AsyncIterator[bytes] | None = None,
        *,
        length: int = 0,
        answer_s: float = STALL_S,
    ) -> Answer:
        """Send a request with a body of this length; its answer. `WebFailed` where it broke off."""
        sent = {"Host": self._host, "User-Agent": "operis-box", "Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Length"] = str(length)
        try:
            request = h11.Request(method=method, target=self._base + path, headers=list(sent.items()))
            await self._send(self._machine.send(request))
            async for piece in body or _nothing():
                await self._send(self._machine.send(h11.Data(data=piece)))
            await self._send(self._machine.send(h11.EndOfMessage()))
            async with asyncio.timeout(answer_s):
                answer = await self._hear()
            self._machine.start_next_cycle()
        except TimeoutError as error:
            raise WebFailed(f"no answer within {answer_s:g} s") from error
        except h11.ProtocolError as error:
            raise WebFailed(f"the answer broke off, or is no HTTP: {error}") from error
        except OSError as error:
            raise WebFailed(error.strerror or str(error)) from error
        return answer

    async def _send(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(STALL_S):
                await self._writer.drain()

    async def _hear(self) -> Answer:
        status, body = 0, bytearray()
        while True:
            event = self._machine.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(READ_BYTES)
                if not data and not status:
                    raise WebFailed("the connection was closed before the answer")
                self._machine.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise WebFailed("the answer is longer than any of a hub")
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, _read(bytes(body)))
            elif isinstance(event, h11.ConnectionClosed):
                raise WebFailed("the connection was closed")


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _read(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

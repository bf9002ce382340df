"""A small HTTP client in the test's own loop: whole answers, and server-sent events as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

LIMIT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    id: str
    data: Any


class Events:
    """A stream of server-sent events."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def next(self) -> ServerEvent | None:
        """The next event, comments passed over; None at the end."""
        fields: dict[str, str] = {}
        while True:
            async with asyncio.timeout(LIMIT_S):
                line = await _line(self._reader)
            if line is None:
                return None
            if line.startswith(":"):
                continue
            if not line and fields:
                return ServerEvent(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value

    async def until(self, name: str) -> list[ServerEvent]:
        """The events up to and with the first of that name."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
            if event.name == name:
                return found
        raise AssertionError(f"the stream ended before '{name}', after {found}")


class Http:
    """Requests to one address with one key."""

    def __init__(self, address: tuple[str, int], key: str | None) -> None:
        self.address = address
        self.key = key

    async def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask; `body` bytes go as they are, anything else as JSON."""
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await self._ask(method, path, body, headers)
            try:
                status, found = await _head(reader)
                if found.get("transfer-encoding") == "chunked":
                    content = b""
                    while (part := await _chunk(reader)) is not None:
                        content += part
                else:
                    content = await reader.read()
                return Answer(status, found, content)
            finally:
                writer.close()

    async def get(self, path: str, **headers: str) -> Answer:
        """GET; header names with _ for -."""
        return await self("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST; header names with _ for -."""
        return await self("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    @asynccontextmanager
    async def events(self, path: str, **headers: str) -> AsyncIterator[Events]:
        """Server-sent events while the context lasts; open once the server has begun them."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reader, writer = await self._ask("GET", path, None, named)
        try:
            async with asyncio.timeout(LIMIT_S):
                status, found = await _head(reader)
            assert status == 200, (status, await reader.read(2000))
            assert found["content-type"].startswith("text/event-stream")
            decoded = asyncio.StreamReader(limit=2**24)
            feeding = asyncio.create_task(_decode(reader, decoded))
            try:
                yield Events(decoded)
            finally:
                feeding.cancel()
        finally:
            writer.close()

    async def _ask(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Host": "hub", "Connection": "close"}
        if content or method in {"POST", "PUT", "PATCH"}:
            sent["Content-Length"] = str(len(content))
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        sent |= headers or {}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        reader, writer = await asyncio.open_connection(*self.address, limit=2**24)
        writer.write(head.encode("latin-1") + b"\r\n" + content)
        return reader, writer


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(": ") for line in lines if line)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}


async def _chunk(reader: asyncio.StreamReader) -> bytes | None:
    try:
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = await reader.readexactly(size + 2)
    except asyncio.IncompleteReadError:
        return None
    return data[:-2] if size else None


async def _decode(raw: asyncio.StreamReader, decoded: asyncio.StreamReader) -> None:
    while (part := await _chunk(raw)) is not None:
        decoded.feed_data(part)
    decoded.feed_eof()


async def _line(reader: asyncio.StreamReader) -> str | None:
    line = await reader.readline()
    return line.decode().rstrip("\n") if line else None

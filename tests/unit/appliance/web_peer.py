"""A peer that plays the hub's web port byte by byte, so that a test can cut and refuse where it likes."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request: what it said, and what came of its body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


# What to do about the n-th request instead of what a hub does: a status with a problem's fields, raw bytes to answer
# with, or the number of bytes of the body after which to cut the connection.
Fault = tuple[int, dict[str, Any]] | bytes | int
Plan = Callable[[int, Asked], Fault | None]


@dataclass
class WebPeer:
    """What came, by sha256, and what was asked."""

    url: str = ""
    plan: Plan = lambda *_: None
    sizes: dict[str, int] = field(default_factory=dict)
    came: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0

    def expect(self, data: bytes) -> str:
        """Wait for this content."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.sizes[sha256] = len(data)
        return sha256

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open_now += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(reader, writer):
                    await writer.drain()
        finally:
            self.open_now -= 1
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        asked = Asked(method, path, headers)
        number = len(self.asked)
        self.asked.append(asked)
        sha256 = path.rpartition("/")[2]
        fault = self.plan(number, asked)
        length = int(headers.get("content-length", 0))
        if isinstance(fault, int):
            asked.body = await reader.readexactly(min(fault, length))
            if method == "PATCH":
                self.came[sha256] = self.came.get(sha256, b"") + asked.body
            return False
        asked.body = await reader.readexactly(length)
        if isinstance(fault, bytes):
            writer.write(fault)
            await writer.drain()
            return False
        if fault is not None:
            status, fields = fault
            self._write(writer, status, {"title": "t", "status": status, "detail": "d", "hint": "h", **fields})
            return True
        if method == "PATCH":
            assert int(headers["upload-offset"]) == len(self.came.get(sha256, b""))
            self.came[sha256] = self.came.get(sha256, b"") + asked.body
        came, size = self.came.get(sha256, b""), self.sizes[sha256]
        is_complete = method == "PATCH" and len(came) == size
        self._write(writer, 200, {"offset": len(came), "size_bytes": size, "is_complete": is_complete})
        return True

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
        writer.write(head.encode() + encoded)


@asynccontextmanager
async def web_peer(base: str = "") -> AsyncIterator[WebPeer]:
    """A peer that listens while the context lasts."""
    peer = WebPeer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, limit=2**24)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" + base
    async with server:
        yield peer

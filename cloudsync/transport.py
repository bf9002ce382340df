"""A thin asyncio shell over one WebSocket: messages in and out, nothing decided here.

Reliable frames queue without limit here, since their makers are bounded already (the log window). Best-effort frames
are refused while the socket is behind; the caller announces the gap.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cloudsync import messages
from cloudsync.errors import ChannelClosed, ProtocolViolation
from cloudsync.messages import FromHub, Message

log = logging.getLogger(__name__)

# Frames waiting for the socket above which best-effort ones are refused: a few, so that results never wait long.
BEHIND_FRAMES: Final = 8
CLOSE_VIOLATION: Final = 1002
CLOSE_GOING_AWAY: Final = 1001
# A peer whose close frame does not come is not waited for longer: its power may be gone.
CLOSE_TIMEOUT_S: Final = 2.0
# Nor is one that reads nothing any more: what is queued for it is durable here and goes out on its next connection.
DRAIN_TIMEOUT_S: Final = 5.0
# RFC 6455, section 5.5: a control frame has at most 125 bytes, two are the code.
REASON_LIMIT_BYTES: Final = 123
OPEN_TIMEOUT_S: Final = 20.0

Incoming = TypeVar("Incoming", bound=Message)


class Channel(Generic[Incoming]):
    """One connection. `receive` raises `ChannelClosed` at its end, `ProtocolViolation` on a frame that is none."""

    def __init__(self, connection: ClientConnection | ServerConnection, decode: Callable[[str], Incoming]) -> None:
        self._connection = connection
        self._decode = decode
        self._frames: deque[str] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._pump = asyncio.create_task(self._send_frames())

    def send(self, message: Message) -> None:
        """Queue a message that must arrive, or the connection end."""
        self.send_text(messages.encode(message))

    def send_text(self, frame: str) -> None:
        """Queue a frame that is encoded already."""
        self._frames.append(frame)
        self._wake.set()

    def offer(self, message: Message) -> bool:
        """Queue a best-effort message unless the socket is behind; whether it was taken."""
        if len(self._frames) >= BEHIND_FRAMES:
            return False
        self.send(message)
        return True

    async def receive(self) -> Incoming:
        """The peer's next message."""
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as error:
            received = error.rcvd
            raise ChannelClosed(received.code if received else None, received.reason if received else "") from error
        if isinstance(frame, bytes):
            raise ProtocolViolation("a binary frame; every message is one JSON object in a text frame")
        return self._decode(frame)

    def close_soon(self, code: int = 1000, reason: str = "") -> None:
        """Close once what is queued has gone out."""
        if self._closing is None:
            self._closing = (code, reason.encode(errors="replace")[:REASON_LIMIT_BYTES].decode(errors="ignore"))
            self._wake.set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what is queued, and wait until it is done; a peer that does not take it is dropped."""
        self.close_soon(code, reason)
        sent, _ = await asyncio.wait({self._pump}, timeout=DRAIN_TIMEOUT_S)
        if not sent:
            self.abandon()
        await self._connection.close(code)

    async def _send_frames(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames:
                    await self._connection.send(self._frames.popleft())
                if self._closing is not None:
                    await self._connection.close(*self._closing)
                    return
        self._frames.clear()

    async def finish(self) -> None:
        """Stop sending; for a connection that has ended."""
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump

    def abandon(self) -> None:
        """Drop the connection at once, without a close handshake."""
        self._pump.cancel()
        self._connection.transport.abort()


async def open_channel(url: str) -> Channel[FromHub]:
    """Connect a box to its hub. Raises `OSError`, `TimeoutError` or websockets' `InvalidHandshake`."""
    connection = await connect(
        url,
        subprotocols=[messages.SUBPROTOCOL],  # type: ignore[list-item]
        compression=None,
        max_size=messages.FRAME_LIMIT_BYTES,
        ping_interval=None,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        proxy=None,
    )
    if connection.subprotocol != messages.SUBPROTOCOL:
        await connection.close(CLOSE_VIOLATION, "no cloudsync.v1")
        raise ProtocolViolation("the server took the WebSocket but does not speak cloudsync.v1: it is no Operis hub")
    return Channel(connection, messages.decode_from_hub)

"""A box that speaks the real protocol over a real WebSocket, and misbehaves where a test says so."""

import asyncio
import base64
import os
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cloudsync import identity, messages
from cloudsync.messages import (
    Ack,
    Challenge,
    Commands,
    Hello,
    LocalTask,
    Message,
    OutputChunk,
    Pulse,
    Settled,
    TaskEvent,
    Welcome,
)
from cloudsync.spec import ErrorBody, Outcome, Output
from cloudsync.task import TaskState

LIMIT_S = 20.0
BOX_NOW_MS = 1_700_000_000_000

Heard = TypeVar("Heard", bound=Message)


def some_id() -> str:
    """A fresh id."""
    return os.urandom(16).hex()


def outcome(
    exit_code: int | None = 0, stdout: bytes = b"", stderr: bytes = b"", error: ErrorBody | None = None
) -> Outcome:
    """What a task may come to."""
    return Outcome(exit_code=exit_code, stdout=Output.of(stdout), stderr=Output.of(stderr), error=error)


def event(
    task_id: str,
    state: TaskState | str,
    came: Outcome | None = None,
    *,
    at_ms: int = BOX_NOW_MS,
    attempt: int = 1,
    made_here: LocalTask | None = None,
    event_id: str | None = None,
) -> str:
    """An encoded event of a task."""
    return messages.encode_entry(
        TaskEvent(
            id=event_id or some_id(),
            task_id=task_id,
            state=TaskState(state),
            at_ms=at_ms,
            attempt=attempt,
            boot_id="boot",
            outcome=came,
            made_here=made_here,
        )
    )


class Peer:
    """One box: its key, its counters, and at most one connection."""

    def __init__(self, relay: str, box_id: str, key: bytes, hwid: str = "hw") -> None:
        self.relay = relay
        self.box_id = box_id
        self.key = key
        self.hwid = hwid
        self.incarnation = some_id()
        self.session = 0
        self.last = 0
        self.command_seq = 0
        self.event_seq = 0
        self.acked_event_seq = 0
        self.hub = ""
        self.nonce = ""
        self._connection: ClientConnection | None = None

    def copy(self, hwid: str = "hw-2") -> "Peer":
        """The same box a second time, as a cloned disk makes it."""
        twin = Peer(self.relay, self.box_id, self.key, hwid)
        for name in ("incarnation", "session", "last", "command_seq", "event_seq", "acked_event_seq"):
            setattr(twin, name, getattr(self, name))
        return twin

    @property
    def connection(self) -> ClientConnection:
        """The connection, which must be open."""
        assert self._connection is not None
        return self._connection

    async def open(self) -> Challenge:
        """Connect and hear the challenge."""
        self._connection = await connect(
            self.relay,
            subprotocols=[messages.SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=None,
        )
        challenge = await self.hear(Challenge)
        self.nonce, self.hub = challenge.nonce, challenge.hub
        return challenge

    def hello(self, **changes: Any) -> Hello:
        """The next hello, signed; `nonce`, `hub` and `key` sign it otherwise."""
        self.session += 1
        nonce, hub = changes.pop("nonce", self.nonce), changes.pop("hub", self.hub)
        key = changes.pop("key", self.key)
        fields: dict[str, Any] = {
            "box_id": self.box_id,
            "incarnation": self.incarnation,
            "session": self.session,
            "last": self.last,
            "command_seq": self.command_seq,
            "event_seq": self.event_seq,
            "acked_event_seq": self.acked_event_seq,
            "hwid": self.hwid,
        }
        return identity.sign(Hello(**fields | changes), key, nonce=nonce, hub=hub)

    async def greet(self, **changes: Any) -> Message:
        """Connect, say hello, and hear the verdict."""
        await self.open()
        await self.say(self.hello(**changes))
        return await self.hear(Message)

    async def connect(self, **changes: Any) -> Welcome:
        """The whole handshake; what the hub says at once is passed over."""
        welcome = await self.begin(**changes)
        await self.beat()
        return welcome

    async def begin(self, **changes: Any) -> Welcome:
        """The whole handshake, with nothing heard after it."""
        welcome = await self.greet(**changes)
        assert isinstance(welcome, Welcome), welcome
        self.last = self.session
        self.acked_event_seq = welcome.event_seq
        await self.say(Settled(session=self.session))
        return welcome

    async def beat(self) -> Pulse:
        """Send a pulse and hear the hub's: what was sent before has been read by then."""
        await self.say(Pulse(now_ms=BOX_NOW_MS, health={"load": 0.5}))
        return await self.hear(Pulse)

    async def say(self, message: Message | str | bytes) -> None:
        """Send a message, or a frame as it is."""
        await self.connection.send(messages.encode(message) if isinstance(message, Message) else message)

    async def hear(self, kind: type[Heard]) -> Heard:
        """The next message of a kind; others are passed over."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                message = messages.decode_from_hub(str(await self.connection.recv()))
                if isinstance(message, kind):
                    return message

    async def commands(self, count: int) -> list[dict[str, Any]]:
        """The next `count` commands, journaled but not acked."""
        entries: list[dict[str, Any]] = []
        while len(entries) < count:
            batch = await self.hear(Commands)
            assert batch.from_seq == self.command_seq + 1
            self.command_seq += len(batch.entries)
            entries += batch.entries
        return entries

    async def report(self, *entries: str, ack: int | None = None, wait: bool = True) -> None:
        """Send events, and wait until the hub has them."""
        await self.say(messages.encode_events(self.event_seq + 1, entries, ack))
        self.event_seq += len(entries)
        if wait:
            await self.acked()

    async def acked(self) -> None:
        """Wait until the hub has acked every event."""
        while self.acked_event_seq < self.event_seq:
            self.acked_event_seq = (await self.hear(Ack)).seq

    async def output(self, task_id: str, offset: int, data: bytes, stream: Any = "stdout") -> None:
        """Send a piece of live output."""
        encoded = base64.b64encode(data).decode()
        await self.say(OutputChunk(task_id=task_id, stream=stream, offset=offset, data_b64=encoded))

    async def finish(self, task_id: str, came: Outcome | None = None, state: str = "succeeded") -> None:
        """Report that a task ran and ended."""
        entries = (event(task_id, "running"), event(task_id, state, came or outcome()))
        await self.report(*entries, ack=self.command_seq or None)

    async def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection: its code and reason."""
        async with asyncio.timeout(LIMIT_S):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed as error:
                return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")

    async def cut(self) -> None:
        """Lose the connection, as when the power goes."""
        if self._connection is not None:
            self._connection.transport.abort()
            await self._connection.wait_closed()
            self._connection = None

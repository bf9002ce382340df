"""One live session of a box: its two logs over one connection.

Commands go out as they are numbered and committed; events come in, are stored under the session's fence, and are
acked after the commit. Everything that must survive is in the store; a session may end at any moment.
"""

import asyncio
import json
import logging
from typing import Any, Final

import pydantic_core
from pydantic import ValidationError

from cloudsync import messages
from cloudsync.errors import ProtocolViolation
from cloudsync.log import Receiver, Sender
from cloudsync.messages import (
    EVENT,
    Ack,
    ArtifactEvent,
    Bye,
    Denied,
    Events,
    FlaggedEvent,
    Follow,
    FromBox,
    LostEvent,
    OutputChunk,
    OutputGap,
    Pulse,
    StepReport,
    TaskEvent,
    Unfollow,
)
from cloudsync.transport import CLOSE_GOING_AWAY, CLOSE_VIOLATION, Channel
from hub import intake, ledger, roster
from hub.dispatch import Dispatch, boot_s, new_id, now_ms
from hub.errors import HubError
from hub.intake import Frame
from hub.ledger import Change, FenceLost
from hub.store import Row

log = logging.getLogger(__name__)

# Acks of events gather this long: the box only prunes by them.
ACK_DELAY_S: Final = 0.02
# Frames of events on their way into the store before the next is read: the box feels it as backpressure.
STORING_FRAMES: Final = 8
CLOSE_SUPERSEDED: Final = 4001
CLOSE_STORE: Final = 1013
# How often the time a box was last heard is written down while it stays connected.
SEEN_EVERY_MS: Final = 60_000


class Session:
    """A box in session. `dispatch.BoxSession` is what the switchboard sees of it."""

    def __init__(
        self,
        dispatch: Dispatch,
        channel: Channel[FromBox],
        row: Row,
        *,
        box_has: int,
        command_head: int,
        clock_offset_ms: int,
    ) -> None:
        self._dispatch = dispatch
        self._channel = channel
        self.box_id: str = row["id"]
        self.customer_id: str = row["customer_id"]
        self.incarnation: str = row["incarnation"]
        self.fence: int = row["fence"]
        self.heard_at_ms = now_ms()
        self.heard_boot_s = boot_s()
        self.seen_at_ms = self.heard_at_ms
        self.health: dict[str, Any] | None = None
        self._clock_offset_ms = clock_offset_ms
        self._sender = Sender(head=command_head)
        self._sender.attach(box_has)
        self._receiver = Receiver(have=row["event_seq"])
        self._bodies: dict[int, str] = {}
        self._pump_due = False
        self._loading = False
        self._ack_due = False
        self._backlog = True
        self._numbering = False
        self._storing = 0
        self._stored = asyncio.Event()
        self._ended = False

    def begin(self) -> None:
        """The session is settled: send what the box lacks and number what waits."""
        self._pump_soon()
        self._number_more()
        for task_id in self._dispatch.live.watched_of(self.box_id):
            self.follow(task_id, self._dispatch.live.offsets(task_id))

    def has_room(self) -> bool:
        """Whether a new task may be numbered at once; the commit has the last word."""
        return not self._backlog and self._room() > 0

    def _room(self) -> int:
        return self._sender.window - (self._sender.head - self._sender.acked)

    def number_later(self) -> None:
        """A task waits without a number."""
        self._backlog = True
        self._number_more()

    def numbered(self, seq: int, row: Row) -> None:
        """A task was committed under `seq`."""
        self._append(seq, _run_entry(row["id"], row["spec"], row["created_by"], row["created_at"], row["deliver_by"]))

    def cancel(self, seq: int, task_id: str, by: str) -> None:
        """A cancel was committed under `seq`."""
        self._append(seq, messages.encode_entry(messages.Cancel(task_id=task_id, by=by)))

    def _append(self, seq: int, body: str) -> None:
        if self._ended:
            return
        if seq > self._sender.sent:
            self._bodies[seq] = body
        self._sender.append(seq)
        self._pump_soon()

    def follow(self, task_id: str, offsets: dict[Any, int]) -> None:
        """Someone watches a task."""
        self._channel.offer(Follow(task_id=task_id, stdout=offsets["stdout"], stderr=offsets["stderr"], steps=True))

    def unfollow(self, task_id: str) -> None:
        """Nobody watches it any more."""
        self._channel.offer(Unfollow(task_id=task_id))

    def end(self, code: int, reason: str) -> None:
        """Close the session."""
        self._ended = True
        self._channel.close_soon(code, reason)

    def cut(self) -> None:
        """The connection is gone, or its end is being said already."""
        self._ended = True

    def bye(self, bye: Bye) -> None:
        """Tell the box that the hub goes away, and close."""
        if not self._ended:
            self._channel.send(bye)
            self.end(CLOSE_GOING_AWAY, bye.reason)

    def abandon(self) -> None:
        """Drop a connection that has gone silent."""
        self._ended = True
        self._channel.abandon()

    def deny(self, denied: Denied) -> None:
        """Tell the box why it may not stay, and close."""
        if not self._ended:
            self._channel.send(denied)
            self.end(CLOSE_VIOLATION, denied.code)

    # Commands out

    def _pump_soon(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        while not self._ended and (allowed := self._sender.range()) is not None:
            first, last = allowed
            bodies = []
            for seq in range(first, last + 1):
                body = self._bodies.get(seq)
                if body is None:
                    break
                bodies.append(body)
            if not bodies:
                self._load(first, last)
                return
            count = messages.batch_size([_size_bytes(body) for body in bodies])
            self._channel.send_text(messages.encode_commands(first, bodies[:count]))
            self._sender.take(first + count - 1)
            for seq in range(first, first + count):
                self._bodies.pop(seq, None)

    def _load(self, first: int, last: int) -> None:
        """Fetch commands that are not in memory, after a reconnect or when callers were told out of order."""
        if self._loading:
            return
        self._loading = True

        async def load() -> None:
            try:
                rows = await self._dispatch.store.read(lambda c: ledger.commands_between(c, self.box_id, first, last))
            except Exception as error:  # a session that goes on without them is mute
                log.error("commands not read, session closed: box=%s", self.box_id, exc_info=error)
                self.end(CLOSE_STORE, "the hub cannot read its store now; come again")
                return
            finally:
                self._loading = False
            for row in rows:
                self._bodies[row["seq"]] = _command_entry(row)
            if not rows or rows[0]["seq"] != first:
                self.end(CLOSE_SUPERSEDED, "the command log moved on")
            self._pump()

        self._spawn(load())

    def _number_more(self) -> None:
        if self._numbering or self._ended or not self._backlog or self._room() <= 0:
            return
        self._numbering = True
        limit = self._room()
        self._backlog = False  # whatever arrives from here on says so again
        future = self._dispatch.store.write(
            lambda c: ledger.number_waiting(c, self.box_id, self.fence, limit, now_ms(), new_id)
        )

        def numbered(done: "asyncio.Future[tuple[list[tuple[int, Row]], Change]]") -> None:
            self._numbering = False
            if (result := self._result(done)) is None:
                return
            rows, change = result
            for seq, row in rows:
                self.numbered(seq, row)
            self._dispatch.tell(change)
            if len(rows) + len(change.rows) >= limit:
                self._backlog = True
            self._number_more()

        future.add_done_callback(numbered)

    # Events in

    async def receive(self, message: FromBox) -> None:
        """Take a message of a live session."""
        self.heard_at_ms = now_ms()
        self.heard_boot_s = boot_s()
        match message:
            case Events():
                await self._store_events(message)
            case Ack():
                self._store_ack(message.seq)
            case OutputChunk() | StepReport():
                # What it belongs to came before it: an event that is still on its way into the store.
                while self._storing and not self._ended:
                    self._stored.clear()
                    await self._stored.wait()
                if isinstance(message, StepReport):
                    self._dispatch.live.step(self.box_id, message)
                else:
                    self._dispatch.live.chunk(self.box_id, message)
            case OutputGap():
                self._dispatch.live.gap(self.box_id, message)
            case Pulse():
                self._beat(message)
            case _:
                raise ProtocolViolation(f"'{message.type}' in a live session")

    async def _store_events(self, message: Events) -> None:
        entries = [_read_event(entry) for entry in message.entries]
        if not entries:
            raise ProtocolViolation("events: an empty batch")
        count = len(entries)
        # The one entry that stands for a range; one that does not fit its place stands for itself alone.
        if count == 1 and isinstance(lost := entries[0], LostEvent) and lost.to_seq >= message.from_seq:
            count = lost.to_seq - message.from_seq + 1
        offer = self._receiver.offer(message.from_seq, count)
        if offer.apply_from is None:
            self._ack_soon()
            if message.ack is not None:
                self._store_ack(message.ack)
            return
        if message.ack is not None and message.ack > self._sender.sent:
            raise ProtocolViolation(f"ack of command {message.ack}, the newest sent is {self._sender.sent}")
        frame = Frame(
            box_id=self.box_id,
            customer_id=self.customer_id,
            incarnation=self.incarnation,
            fence=self.fence,
            from_seq=offer.apply_from,
            last_seq=message.from_seq + count - 1,
            entries=entries[offer.skip :] or entries[-1:],
            ack=message.ack,
            clock_offset_ms=self._clock_offset_ms,
        )
        self._storing += 1
        self._dispatch.store.write(lambda c: intake.apply(c, frame, now_ms())).add_done_callback(
            lambda done: self._events_stored(frame, done)
        )
        while self._storing >= STORING_FRAMES and not self._ended:
            self._stored.clear()
            await self._stored.wait()

    def _events_stored(self, frame: Frame, done: "asyncio.Future[Change]") -> None:
        self._storing -= 1
        self._stored.set()
        change = self._result(done)
        if change is None:
            return
        self._receiver.committed(frame.last_seq)
        self._ack_soon()
        if frame.ack is not None:
            self._command_acked(frame.ack)
        self._dispatch.tell(change)

    def _store_ack(self, seq: int) -> None:
        if seq > self._sender.sent:
            raise ProtocolViolation(f"ack of command {seq}, the newest sent is {self._sender.sent}")
        if seq <= self._sender.acked:
            return
        future = self._dispatch.store.write(lambda c: ledger.acked(c, self.box_id, self.fence, seq, now_ms()))

        def stored(done: "asyncio.Future[Change]") -> None:
            if (change := self._result(done)) is not None:
                self._command_acked(seq)
                self._dispatch.tell(change)

        future.add_done_callback(stored)

    def _command_acked(self, seq: int) -> None:
        if not self._ended and self._sender.ack(seq):
            self._pump_soon()
            self._number_more()

    def _ack_soon(self) -> None:
        if not self._ack_due:
            self._ack_due = True
            asyncio.get_running_loop().call_later(ACK_DELAY_S, self._send_ack)

    def _send_ack(self) -> None:
        self._ack_due = False
        if not self._ended:
            self._channel.send_text(f'{{"type":"ack","seq":{self._receiver.have}}}')

    def _beat(self, message: Pulse) -> None:
        self.health = message.health
        self._channel.offer(Pulse(now_ms=now_ms()))
        if message.inventory is not None or self.heard_at_ms - self.seen_at_ms >= SEEN_EVERY_MS:
            self.write_seen(message.inventory)

    def write_seen(self, inventory: dict[str, Any] | None = None) -> None:
        """Write down when the box was last heard; best effort."""
        self.seen_at_ms = heard_at = self.heard_at_ms
        future = self._dispatch.store.write(lambda c: roster.seen(c, self.box_id, self.fence, heard_at, inventory))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _result(self, done: "asyncio.Future[Any]") -> Any | None:
        """The result of a write; None, and the session closed, where there is none."""
        if done.cancelled():
            return None
        match done.exception():
            case None:
                return done.result()
            case FenceLost():
                self.end(CLOSE_SUPERSEDED, "another session of this box took over")
            case HubError() as error:
                log.error("not stored, session closed: box=%s %s", self.box_id, error)
                self.end(CLOSE_STORE, "the hub cannot store this now; come again")
            case error:
                log.error("not stored, session closed: box=%s", self.box_id, exc_info=error)
                self.end(CLOSE_STORE, "the hub failed on this; come again")
        return None

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        _RUNNING.add(task)
        task.add_done_callback(_RUNNING.discard)


_RUNNING: set[asyncio.Task[Any]] = set()


def _read_event(entry: Any) -> TaskEvent | LostEvent | FlaggedEvent | ArtifactEvent | str:
    try:
        return EVENT.validate_python(entry)
    except ValidationError:
        return pydantic_core.to_json(entry, inf_nan_mode="null").decode()


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _run_entry(task_id: str, spec: str, created_by: str, created_at: int, deliver_by: int | None) -> str:
    remaining_s = 0.0 if deliver_by is None else max(0.0, (deliver_by - now_ms()) / 1000)
    return (
        f'{{"type":"run","task_id":"{task_id}","created_by":{json.dumps(created_by)},"created_at_ms":{created_at},'
        f'"remaining_s":{remaining_s},"spec":{spec}}}'
    )


def _command_entry(row: Row) -> str:
    if row["type"] == "cancel":
        return messages.encode_entry(messages.Cancel(task_id=row["id"], by=row["made_by"]))
    return _run_entry(row["id"], row["spec"], row["created_by"], row["created_at"], row["deliver_by"])

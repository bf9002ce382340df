"""One live session with the hub: events out, commands in, and best-effort output beside them.

Events go out as they become durable. What tells no end waits a little for company, so that a quick task's start, its
end and the ack of its command are one frame.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from appliance.batch import new_event_id
from appliance.engine import Engine
from appliance.live import boot_s, now_ms
from cloudsync import messages
from cloudsync.errors import ProtocolViolation
from cloudsync.log import WINDOW_ENTRIES, Receiver, Sender, Sending
from cloudsync.messages import (
    Ack,
    Commands,
    Desired,
    Follow,
    FromHub,
    LostEvent,
    OutputChunk,
    OutputGap,
    Pulse,
    StepReport,
    Unfollow,
)
from cloudsync.transport import Channel

log = logging.getLogger(__name__)

# How long an event or an ack that nobody waits for may wait for company.
COMPANY_S: Final = 0.025
PULSE_S: Final = 15.0
# A hub that has sent nothing for three pulses is gone, whatever the socket says.
DEAD_AFTER_S: Final = 45.0


class Link:
    """A session that is settled, until its channel ends. `health` gives what a pulse says."""

    def __init__(
        self,
        engine: Engine,
        channel: Channel[FromHub],
        *,
        hub_has: int,
        command_seq: int,
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._engine = engine
        self._executor = engine.executor
        self._outbox = engine.outbox
        self._channel = channel
        self._health = health
        self._sender = Sender(head=self._outbox.head)
        self._sender.attach(hub_has)
        self._receiver = Receiver(have=command_seq)
        self._acked_command = command_seq
        self._timer: asyncio.TimerHandle | None = None
        self._pulse_timer: asyncio.TimerHandle | None = None
        self._heard_boot_s = boot_s()
        self._is_over = False
        self._acked = asyncio.Event()

    @property
    def command_seq(self) -> int:
        """The newest command that the journal holds."""
        return self._receiver.have

    def begin(self) -> None:
        """Send what the hub lacks, and go on as more becomes durable."""
        self._outbox.on_added = self._added
        self._pulse_timer = asyncio.get_running_loop().call_later(PULSE_S, self._pulse)
        self._flush()

    def end(self) -> None:
        """The channel is gone, or about to be."""
        self._is_over = True
        self._acked.set()
        self._outbox.on_added = None
        self._executor.watch.unfollow_all()
        self._sender.detach()
        for timer in (self._timer, self._pulse_timer):
            if timer is not None:
                timer.cancel()

    def receive(self, message: FromHub) -> None:
        """Take a message of the live session; `ProtocolViolation` on a gap."""
        self._heard_boot_s = boot_s()
        match message:
            case Commands():
                self._take(message)
            case Ack(seq=seq):
                if self._sender.ack(seq):
                    self._acked.set()
                    self._outbox.ack(seq)
                    self._flush()
            case Follow(task_id=task_id):
                offer = self._offer if message.steps else self._offer_output
                self._executor.follow(task_id, {"stdout": message.stdout, "stderr": message.stderr}, offer)
            case Unfollow(task_id=task_id):
                self._executor.watch.unfollow(task_id)
            case Pulse() | Desired():
                pass
            case _:
                raise ProtocolViolation(f"'{message.type}' in a live session")

    def _offer(self, message: OutputChunk | OutputGap | StepReport) -> bool:
        return not self._is_over and self._channel.offer(message)

    def _offer_output(self, message: OutputChunk | OutputGap | StepReport) -> bool:
        """For a hub of a version that knows no steps."""
        return isinstance(message, StepReport) or self._offer(message)

    # Commands in

    def _take(self, message: Commands) -> None:
        if not message.entries:
            raise ProtocolViolation("commands: an empty batch")
        offer = self._receiver.offer(message.from_seq, len(message.entries))
        if offer.apply_from is None:
            self._acked_command = -1
            self._soon()
        else:
            self._engine.intake.apply(offer.apply_from, message.entries[offer.skip :], partial(self._applied))

    def _applied(self, seq: int) -> None:
        self._receiver.committed(seq)
        if not self._is_over:
            self._soon()

    # Events out

    def _added(self, is_final: bool) -> None:
        self._sender.append(self._outbox.head)
        if is_final:
            self._flush()
        else:
            self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COMPANY_S, self._flush)

    def _flush(self) -> None:
        """Send all that may be sent, and the ack of commands with it or alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (allowed := self._sender.range()) is not None:
            self._send(*allowed)
        ack = self._ack()
        if ack is not None:
            self._channel.send_text(f'{{"type":"ack","seq":{ack}}}')

    def _send(self, first: int, last: int) -> None:
        bodies = self._outbox.held(first, last)
        if bodies is None:
            oldest = self._engine.journal.oldest_event_seq()
            if oldest > first:
                self._declare_lost(first, oldest - 1)
                return
            bodies = self._engine.journal.events(first, last, messages.BATCH_LIMIT_BYTES)
        count = messages.batch_size([_size_bytes(body) for body in bodies])
        self._channel.send_text(messages.encode_events(first, bodies[:count], self._ack()))
        self._sender.take(first + count - 1)

    def _declare_lost(self, first: int, last: int) -> None:
        """Say that these events are no longer held: one entry stands for all of them."""
        lost = LostEvent(
            id=new_event_id(),
            at_ms=now_ms(),
            from_seq=first,
            to_seq=last,
            why="the box no longer holds them: the hub had acked them, and lost them since",
        )
        log.error("the hub asks for events that are no longer held", extra={"from_seq": first, "to_seq": last})
        self._channel.send_text(messages.encode_events(first, [messages.encode_entry(lost)], self._ack()))
        # What one entry stands for takes one place of the window, however many they are.
        self._sender.window = max(WINDOW_ENTRIES, last - self._sender.acked)
        self._sender.take(last)
        self._sender.window = WINDOW_ENTRIES

    def _ack(self) -> int | None:
        """The seq of the newest committed command, where the hub has not been told."""
        have = self._receiver.have
        if have == self._acked_command:
            return None
        self._acked_command = have
        return have

    # Alive

    def _pulse(self) -> None:
        silent_s = boot_s() - self._heard_boot_s
        if silent_s >= DEAD_AFTER_S:
            log.warning("the hub is silent: the connection is dropped", extra={"silent_s": round(silent_s)})
            self._channel.abandon()
            return
        self._channel.offer(Pulse(now_ms=now_ms(), health=self._health()))
        self._pulse_timer = asyncio.get_running_loop().call_later(PULSE_S, self._pulse)

    async def drained(self) -> None:
        """Return when the hub has acked all that there is, or the session is over."""
        while not self._is_over and self._sender.state is not Sending.IDLE:
            self._acked.clear()
            await self._acked.wait()


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())

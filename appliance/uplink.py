"""Keeps the box in touch with its hub: enrols it once, then connects, shakes hands, and comes back after each cut.

What happens here never touches local work: a hub that is away, another one, or one that shuts this box out changes
only what `status` says and when the next attempt is.
"""

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from websockets.exceptions import InvalidHandshake, InvalidURI

from appliance import health, identity
from appliance.carrier import Carrier
from appliance.engine import Engine
from appliance.enrolment import Application, HubUnreachable, enrol
from appliance.errors import HubUnsuitable
from appliance.journal import SET_FACT
from appliance.link import Link
from appliance.live import boot_s, now_ms
from appliance.upload import Uploader
from cloudsync.backoff import Backoff
from cloudsync.errors import ChannelClosed, ProtocolViolation, SyncError
from cloudsync.identity import public_key, sign
from cloudsync.messages import Bye, Challenge, Denied, FromHub, Hello, RolledBack, Settled, Stale, Welcome
from cloudsync.session import COMMITTED, CUT, ROLLED_BACK, Box, Session, box_session
from cloudsync.transport import CLOSE_GOING_AWAY, CLOSE_VIOLATION, Channel, open_channel

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 20.0
# A hub that does not want this box now is asked again this seldom: an operator has to act first.
UNWANTED_RETRY_S: Final = 60.0


class LinkState(StrEnum):
    """Where the box is with its hub."""

    LOCAL = "local"  # no hub is known
    UNENROLLED = "unenrolled"  # a hub is known, but no token for it
    ENROLLING = "enrolling"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # the last attempt failed; the next has its time
    UNWANTED = "unwanted"  # the hub answered that it does not want this box, or is not its hub
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What `status` says of the link. Times are Unix ms."""

    state: LinkState
    since_ms: int
    error: str = ""
    hint: str = ""
    next_retry_ms: int | None = None


class _Denial(Exception):
    """The hub gives no session."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.message)
        self.denied = denied


class _Stale(Exception):
    """The session's number was used before."""


class Uplink:
    """The box's end of cloudsync. `run` returns only after `stop`, or raises `EnrolmentRefused`."""

    def __init__(self, engine: Engine) -> None:
        facts = engine.journal.facts
        self.status = LinkStatus(LinkState.LOCAL, now_ms())
        self.session = facts.session
        self.uploader = Uploader(engine.executor.artifacts, engine.outbox)
        engine.outbox.on_acked = self.uploader.acked
        self._engine = engine
        self._last = facts.last
        self._command_seq = facts.command_seq
        self._backoff = Backoff()
        self._nudge = asyncio.Event()
        self._channel: Channel[FromHub] | None = None
        self._link: Link | None = None
        self._retry_after_s = 0.0
        self._inventory = health.inventory(engine.folder.path)
        self._is_stopping = False
        self._stale_in_a_row = 0

    async def run(self) -> None:
        """Enrol where that is still to do, then stay connected."""
        carrier = Carrier.open(self._link_returned)
        try:
            while not self._is_stopping:
                remembered = self._engine.enrolment
                if remembered.box_id is None:
                    await self._try_enrol()
                elif remembered.hub_url is None:
                    self._say(LinkState.LOCAL, hint="Name the hub with --hub and --web.")
                    await self._nudged()
                else:
                    await self._try_session(remembered.hub_url)
        finally:
            if carrier is not None:
                carrier.close()

    async def stop(self) -> None:
        """Leave the hub once what is queued has gone out."""
        self._is_stopping = True
        self._nudge.set()
        if self._channel is not None:
            with suppress(SyncError, OSError):
                await self._channel.close(CLOSE_GOING_AWAY, "the box's daemon stops")

    async def drained(self, limit_s: float) -> None:
        """Wait until the hub has acked all that there is, where there is a session, and no longer than this."""
        if self._link is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._link.drained()

    def _link_returned(self) -> None:
        self._backoff.link_returned()
        self._nudge.set()

    # Enrolling

    async def _try_enrol(self) -> None:
        engine = self._engine
        told = engine.enrolment
        if told.web_url is None or told.hub_url is None:
            self._say(LinkState.LOCAL, hint="Name the hub with --hub and --web, and give it a token with --enrol.")
            await self._nudged()
            return
        if told.token is None:
            hint = "Make a token on the hub (operis-hub token add) and start the box with --enrol TOKEN."
            self._say(LinkState.UNENROLLED, hint=hint)
            await self._nudged()
            return
        self._say(LinkState.ENROLLING)
        application = Application(
            token=told.token,
            public_key=public_key(engine.private_key),
            name=told.name or identity.hostname(),
            hwid=identity.hardware_id(),
            hostname=identity.hostname(),
        )
        try:
            answer = await asyncio.to_thread(enrol, told.web_url, application)
        except HubUnreachable as error:
            await self._wait(LinkState.WAITING, str(error))
            return
        except HubUnsuitable as error:
            await self._wait(LinkState.UNWANTED, str(error), error.hint)
            return
        enrolment = told.enrolled(answer.box_id, answer.hub, answer.customer)
        try:
            await asyncio.to_thread(enrolment.save, engine.folder.enrolment)
        except OSError as failed:
            # The hub answers the same key the same way again.
            hint = "Free some space on its disk and let the box's user write there."
            await self._wait(LinkState.WAITING, f"the enrolment cannot be remembered: {failed.strerror}", hint)
            return
        engine.enrolment = enrolment
        self._backoff = Backoff()
        log.info("enrolled", extra={"box": answer.box_id, "customer": answer.customer, "hub": answer.hub})

    # Connecting

    async def _try_session(self, hub_url: str) -> None:
        self._say(LinkState.CONNECTING)
        self._retry_after_s = 0.0
        began = boot_s()
        error, hint, state = "", "", LinkState.WAITING
        try:
            await self._session(hub_url)
        except _Denial as denial:
            if await self._denied(denial.denied):
                return
            error, hint, state = denial.denied.message, denial.denied.hint, LinkState.UNWANTED
        except _Stale as stale:
            # Once at once; a hub that says so again and again is left in peace.
            self._stale_in_a_row += 1
            if self._stale_in_a_row == 1:
                return
            error = str(stale)
        except HubUnsuitable as unsuitable:
            error, hint, state = str(unsuitable), unsuitable.hint, LinkState.UNWANTED
        except (InvalidURI, ValueError):  # a host name that is none is a ValueError of the resolver's codec
            error, hint, state = f"{hub_url} is no WebSocket URL", "Correct --hub.", LinkState.UNWANTED
        except InvalidHandshake as failed:
            error = f"{hub_url} is no Operis hub, or a proxy stands before it: {failed}"
            hint = "Check --hub: it is the address of the hub's relay, as in ws://HOST:8443/relay."
        except TimeoutError:
            error = f"{hub_url} does not answer"
        except ChannelClosed as closed:
            error = f"the connection ended: {closed}"
        except ProtocolViolation as violation:
            error = f"the hub broke the protocol: {violation}"
        except OSError as failed:
            error = f"{hub_url} cannot be reached: {failed.strerror or failed}"
        self._backoff.lasted(boot_s() - began)
        if not self._is_stopping:
            await self._wait(state, error, hint)

    async def _session(self, hub_url: str) -> None:
        """One connection, to its end; returns after a `stale`, to be tried again at once."""
        channel = self._channel = await open_channel(hub_url)
        machine = box_session()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                welcome = await self._shake_hands(channel, machine)
            await self._live(channel, machine, welcome)
        except ProtocolViolation as violation:
            await channel.close(CLOSE_VIOLATION, str(violation))
            raise
        finally:
            self._channel = None
            machine.done(CUT)
            channel.abandon()

    async def _shake_hands(self, channel: Channel[FromHub], machine: Session[Box]) -> Welcome:
        engine = self._engine
        challenge = await channel.receive()
        machine.receive(challenge)
        if isinstance(challenge, Bye):
            self._bye(challenge)
        if not isinstance(challenge, Challenge):
            raise ProtocolViolation(f"'{challenge.type}' before the handshake")
        pinned = engine.enrolment.hub
        if challenge.hub != pinned:
            raise HubUnsuitable(
                f"this is hub {challenge.hub}, the box is enrolled with {pinned}",
                "Correct --hub; for another hub start in an empty folder and enrol the box there.",
            )
        await self._commit_session(self.session + 1)
        machine.done(COMMITTED)
        channel.send(self._hello(challenge))
        verdict = await channel.receive()
        machine.receive(verdict)
        match verdict:
            case Welcome():
                await self._welcomed(channel, machine, verdict)
                return verdict
            case Stale(fence=fence):
                # The next attempt is one above it.
                await self._commit_session(max(fence, self.session))
                raise _Stale(f"a newer session than this one exists: {fence}")
            case Denied():
                raise _Denial(verdict)
            case Bye():
                self._bye(verdict)
        raise ProtocolViolation(f"'{verdict.type}' instead of a verdict")

    def _hello(self, challenge: Challenge) -> Hello:
        engine = self._engine
        hello = Hello(
            box_id=engine.enrolment.box_id or "",
            incarnation=engine.incarnation,
            session=self.session,
            last=self._last,
            command_seq=self._command_seq,
            event_seq=engine.outbox.head,
            acked_event_seq=engine.outbox.acked,
            boot_id=engine.executor.boot_id,
            hwid=identity.hardware_id(),
            now_ms=now_ms(),
            inventory=self._inventory,
        )
        return sign(hello, engine.private_key, nonce=challenge.nonce, hub=challenge.hub)

    async def _welcomed(self, channel: Channel[FromHub], machine: Session[Box], welcome: Welcome) -> None:
        engine = self._engine
        own = engine.journal.event_id(welcome.event_seq)
        is_other = own is not None and welcome.event_id is not None and own != welcome.event_id
        if welcome.event_seq > engine.outbox.head or is_other:
            machine.done(ROLLED_BACK)
            channel.send(RolledBack(event_seq=welcome.event_seq, event_id=own))
            await engine.hold_hub_work(True)
            answer = await channel.receive()
            if isinstance(answer, Denied):
                raise _Denial(answer)
            raise ProtocolViolation(f"'{answer.type}' after rolled_back")
        if welcome.event_seq < engine.outbox.acked:  # the hub was restored, and may have lost artifacts too
            engine.executor.artifacts.unstored(welcome.event_seq)
        engine.outbox.ack(welcome.event_seq)
        await engine.journal.committed(
            [(SET_FACT, ("last", welcome.session)), (SET_FACT, ("acked_event_seq", welcome.event_seq))]
        )
        self._last = welcome.session
        self._stale_in_a_row = 0
        machine.done(COMMITTED)
        channel.send(Settled(session=welcome.session))

    async def _commit_session(self, session: int) -> None:
        await self._engine.journal.committed([(SET_FACT, ("session", session))])
        self.session = session

    async def _live(self, channel: Channel[FromHub], machine: Session[Box], welcome: Welcome) -> None:
        engine = self._engine
        await engine.hold_hub_work(False)
        link = self._link = Link(
            engine, channel, hub_has=welcome.event_seq, command_seq=self._command_seq, health=self._health
        )
        self._say(LinkState.CONNECTED)
        sending = asyncio.get_running_loop().create_task(
            self.uploader.run(engine.enrolment.web_url or "", welcome.token)
        )
        sending.add_done_callback(_sending_ended)
        try:
            link.begin()
            while True:
                message = await channel.receive()
                machine.receive(message)
                match message:
                    case Bye():
                        self._bye(message)
                    case Denied():
                        raise _Denial(message)
                    case _:
                        link.receive(message)
        finally:
            self._link = None
            sending.cancel()
            link.end()
            # What was handed to the journal before the cut is in it when the next hello is made.
            await engine.journal.committed([])
            self._command_seq = link.command_seq

    def _bye(self, bye: Bye) -> None:
        self._retry_after_s = max(0.0, min(bye.retry_after_s, UNWANTED_RETRY_S))
        raise ChannelClosed(None, f"the hub said goodbye: {bye.reason}")

    async def _denied(self, denied: Denied) -> bool:
        """Do what a denial asks for; whether to come again at once."""
        match denied.code:
            case "begin_anew":
                await self._engine.begin_anew()
                self._last = self._command_seq = 0
                return True
            case "quarantined" | "revoked":
                await self._engine.hold_hub_work(True)
            case "unknown_box" | "bad_signature" | "protocol":
                pass
        return False

    # Between attempts

    async def _nudged(self) -> None:
        """Nothing can be done before something changes."""
        await self._nudge.wait()
        self._nudge.clear()

    async def _wait(self, state: LinkState, error: str, hint: str = "") -> None:
        delay_s = self._backoff.delay_s(random.random(), retry_after_s=self._retry_after_s)
        if state is LinkState.UNWANTED:
            delay_s = UNWANTED_RETRY_S * (0.75 + random.random() / 2)
        self._nudge.clear()
        if self._is_stopping:
            return
        self._say(state, error, hint, now_ms() + round(delay_s * 1000))
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._nudge.wait()
        self._nudge.clear()

    def _say(self, state: LinkState, error: str = "", hint: str = "", next_retry_ms: int | None = None) -> None:
        before = self.status
        if state is LinkState.CONNECTING:
            # The last error stays in sight until an attempt succeeds.
            self.status = replace(before, state=state, next_retry_ms=None)
            return
        is_news = (state, error) != (before.state, before.error)
        since_ms = now_ms() if is_news else before.since_ms
        self.status = LinkStatus(state, since_ms, error, hint, next_retry_ms)
        if is_news:
            level = logging.WARNING if error else logging.INFO
            fields = {"state": state.value, "error": error, "hint": hint}
            if state is LinkState.CONNECTED:
                fields["session"] = str(self.session)
            log.log(level, "the link to the hub changed", extra={name: text for name, text in fields.items() if text})

    def _health(self) -> dict[str, Any]:
        executor = self._engine.executor
        queue = {"queued": len(executor.waiting), "running": len(executor.running)}
        return {**health.pulse(self._engine.folder.path), "queue": queue, "unsynced": self._engine.outbox.unsynced}


def _sending_ended(sending: "asyncio.Task[None]") -> None:
    if not sending.cancelled() and (error := sending.exception()) is not None:
        log.error("artifacts are not sent until the next session", exc_info=error)

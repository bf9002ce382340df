"""The relay port: boxes' outbound WebSocket connections and operators' consoles.

Who offers the subprotocol `cloudsync.v1` is a box and proves its key in the handshake; anyone else is a console and
shows an API key before the upgrade. Query strings hold keys and are never logged.
"""

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary, WeakValueDictionary

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from cloudsync import identity, messages, problem
from cloudsync.errors import ChannelClosed, FrameTooLarge, ProtocolViolation
from cloudsync.fence import Ruling
from cloudsync.messages import Bye, Challenge, Denied, FromBox, Hello, Stale, Welcome
from cloudsync.session import CUT, DENIED, WELCOMED, Hub as HubState, Session as Handshake, hub_session
from cloudsync.transport import CLOSE_GOING_AWAY, CLOSE_VIOLATION, Channel
from hub import roster
from hub.auth import Auth, bearer, require
from hub.console import Access, Console
from hub.dispatch import Dispatch, boot_s, new_id, now_ms
from hub.errors import Refusal, StoreUnavailable, not_found
from hub.roster import Admission
from hub.session import CLOSE_STORE, CLOSE_SUPERSEDED, Session
from hub.signing import SessionToken, Signer
from hub.tenancy import Role

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S: Final = 20.0
# Shorter than a box waits for its next welcome: where its link died after this one, the next hello waits for the lock.
SETTLE_TIMEOUT_S: Final = 5.0
DEAD_AFTER_S: Final = 45.0
CLOSE_POLICY: Final = 1008
SWEEP_S: Final = 5.0
BACKLOG: Final = 4096
# The socket's buffer: small, so that a slow box is noticed early and 10,000 of them cost little.
WRITE_LIMIT: Final = (32768, 8192)
MAX_QUEUE_FRAMES: Final = 16

_QUARANTINE_HINT: Final = (
    "an operator looks at the box's copies (GET /api/v1/boxes/ID) and releases one (operis release BOX COPY)"
)


class Relay:
    """Accepts connections on the relay port."""

    def __init__(self, dispatch: Dispatch, auth: Auth, hub_name: str, signer: Signer) -> None:
        self._dispatch = dispatch
        self._auth = auth
        self._hub_name = hub_name
        self._signer = signer
        self._server: Server | None = None
        # By connection, from its upgrade on; one whose handshake fails is forgotten with it.
        self._access: WeakKeyDictionary[ServerConnection, Access] = WeakKeyDictionary()
        self._consoles: dict[ServerConnection, Access] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._admitting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._draining = False
        self.handshakes = 0
        self.denied = 0

    @property
    def consoles(self) -> int:
        """How many consoles are open."""
        return len(self._consoles)

    async def start(self, listening: socket.socket) -> None:
        """Begin to accept on a socket that is bound."""
        self._server = await serve(
            self._handle,
            sock=listening,
            backlog=BACKLOG,
            subprotocols=[Subprotocol(messages.SUBPROTOCOL)],
            select_subprotocol=_select_subprotocol,
            process_request=self._process_request,
            compression=None,
            max_size=messages.FRAME_LIMIT_BYTES,
            max_queue=MAX_QUEUE_FRAMES,
            write_limit=WRITE_LIMIT,
            ping_interval=None,
            open_timeout=HELLO_TIMEOUT_S,
            close_timeout=2,
            server_header=None,
            logger=logging.getLogger("hub.websockets"),
        )

    async def stop(self) -> None:
        """Say goodbye to every box and close."""
        self._draining = True
        for session in list(self._dispatch.sessions.values()):
            if isinstance(session, Session):
                session.write_seen()
                session.bye(Bye(retry_after_s=1.0, reason="the hub is restarting"))
        if self._server is not None:
            self._server.close(close_connections=True)
            await self._server.wait_closed()

    async def sweep(self) -> None:
        """Cut off sessions that were not heard for too long, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            dead_before = boot_s() - DEAD_AFTER_S
            for session in list(self._dispatch.sessions.values()):
                if isinstance(session, Session) and session.heard_boot_s < dead_before:
                    log.info("session unheard, closed: box=%s", session.box_id)
                    session.abandon()

    def rights_changed(self) -> None:
        """Cut off boxes and consoles that may no longer be here."""
        for box_id, session in list(self._dispatch.sessions.items()):
            rows = self._dispatch.store.read_now("SELECT standing, why FROM boxes WHERE id = ?", (box_id,))
            if isinstance(session, Session) and (not rows or rows[0]["standing"] == "revoked"):
                session.deny(_revoked())
        for connection, access in self._consoles.items():
            if not self._auth.holds(access.principal):
                closing = asyncio.create_task(connection.close(CLOSE_POLICY, "the API key was revoked"))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query_string = request.path.partition("?")
        if path != "/relay":
            hint = "this is the relay, where boxes and consoles connect to /relay; the API is on the hub's web port"
            return _problem(not_found("path", path[:80], hint))
        if self._draining:
            return _problem(Refusal(503, "draining", "the hub is going down", hint="come again in a few seconds"))
        if _offers_cloudsync(request.headers):
            return None
        query = parse_qs(query_string)
        try:
            key = query.get("apiKey", [None])[0] or bearer(request.headers.get("Authorization"))
            principal = self._auth.principal(key)
            box_id = query.get("boxId", [""])[0]
            if not box_id:
                raise Refusal(404, "no_box", "the query names no box", hint="connect to /relay?boxId=BOX&apiKey=KEY")
            rows = self._dispatch.store.read_now("SELECT customer_id FROM boxes WHERE id = ?", (box_id,))
            if not rows or principal.customer_id not in {None, rows[0]["customer_id"]}:
                raise not_found("box", box_id, "list the boxes with 'operis boxes'")
            require(principal, Role.OPERATOR)
        except Refusal as refusal:
            return _problem(refusal)
        self._access[connection] = Access(box_id, principal)
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        access = self._access.pop(connection, None)
        if access is not None:
            self._consoles[connection] = access
            try:
                await Console(self._dispatch, connection, access).run()
            finally:
                del self._consoles[connection]
            return
        channel = Channel[FromBox](connection, messages.decode_from_box)
        try:
            with suppress(ChannelClosed, ConnectionClosed):
                await self._serve_or_close(channel)
        finally:
            await channel.finish()

    async def _serve_or_close(self, channel: Channel[FromBox]) -> None:
        try:
            await self._serve_box(channel)
        except ProtocolViolation as violation:
            log.info("connection broke the protocol, closed: %.200r", str(violation))
            await channel.close(CLOSE_VIOLATION, str(violation))
        except FrameTooLarge as error:
            log.error("frame too large to send, closed: %s", error)
            await channel.close(CLOSE_VIOLATION, str(error))
        except StoreUnavailable as error:
            log.error("handshake not stored, closed: %s", error)
            await channel.close(CLOSE_STORE, "the hub cannot store this now; come again")
        except TimeoutError as error:
            await channel.close(CLOSE_VIOLATION, str(error))

    async def _serve_box(self, channel: Channel[FromBox]) -> None:
        handshake = hub_session()
        nonce = secrets.token_urlsafe(16)
        asked_at = now_ms()
        channel.send(Challenge(nonce=nonce, hub=self._hub_name))
        hello = await _receive_within(channel, HELLO_TIMEOUT_S, "no hello")
        handshake.receive(hello)
        if not isinstance(hello, Hello):
            raise ProtocolViolation(f"'{hello.type}' before the handshake")
        offset = clock_offset_ms(asked_at, hello.now_ms, now_ms())
        lock = self._admitting.get(hello.box_id)
        if lock is None:
            lock = self._admitting[hello.box_id] = asyncio.Lock()
        async with lock:
            session = await self._shake_hands(channel, handshake, hello, nonce, offset)
        if session is None:
            await channel.close(CLOSE_VIOLATION, "no session")
            return
        await self._serve_session(channel, handshake, session)

    async def _shake_hands(
        self, channel: Channel[FromBox], handshake: Handshake[HubState], hello: Hello, nonce: str, offset: int
    ) -> Session | None:
        self.handshakes += 1
        denied: Denied | Stale | None = self._check_identity(hello, nonce)
        if denied is None:
            admission = await self._dispatch.store.write(lambda c: roster.admit(c, hello, now_ms(), new_id))
            self._dispatch.tell(admission.change)
            denied = self._denied(admission, hello)
        else:
            admission = None
        if admission is None or denied is not None:
            self.denied += 1
            handshake.done(DENIED)
            if denied is not None:
                channel.send(denied)
            return None
        row = admission.row
        self._supersede(hello.box_id)
        channel.send(
            Welcome(
                session=hello.session,
                event_seq=row["event_seq"],
                event_id=row["event_id"],
                token=self._signer.token(SessionToken(hello.box_id, row["customer_id"], hello.session)),
            )
        )
        handshake.done(WELCOMED)
        answer = await _receive_within(channel, SETTLE_TIMEOUT_S, "not settled")
        if handshake.receive(answer) is HubState.CLOSED:
            found = await self._dispatch.store.write(
                lambda c: roster.quarantine_rolled_back(c, hello.box_id, hello.session, hello, now_ms(), new_id)
            )
            self._dispatch.tell(found.change)
            log.warning("box quarantined: box=%s why=%s", hello.box_id, found.verdict.why)
            channel.send(Denied(code="quarantined", message=found.verdict.why, hint=_QUARANTINE_HINT))
            return None
        if not await self._dispatch.store.write(lambda c: roster.settle(c, hello.box_id, hello.session)):
            return None
        heads = self._dispatch.store.read_now(
            "SELECT coalesce(max(seq), 0) AS head FROM commands WHERE box_id = ?", (hello.box_id,)
        )
        return Session(
            self._dispatch,
            channel,
            row,
            box_has=row["command_seq"],
            command_head=max(row["command_seq"], heads[0]["head"]),
            clock_offset_ms=offset,
        )

    def _check_identity(self, hello: Hello, nonce: str) -> Denied | None:
        if hello.protocol != messages.PROTOCOL:
            message = f"the box speaks protocol {hello.protocol}, this hub speaks {messages.PROTOCOL}"
            return Denied(code="protocol", message=message, hint="run the same version of Operis on both")
        rows = self._dispatch.store.read_now("SELECT public_key FROM boxes WHERE id = ?", (hello.box_id,))
        if not rows:
            hint = "enrol it: operis-box run --data DIR --hub … --web … --enrol TOKEN"
            return Denied(code="unknown_box", message=f"this hub knows no box '{hello.box_id}'", hint=hint)
        if not identity.verify(hello, rows[0]["public_key"], nonce=nonce, hub=self._hub_name):
            message = f"the signature is not by the key that box '{hello.box_id}' enrolled with"
            return Denied(
                code="bad_signature", message=message, hint="the box's data folder holds another key: enrol it"
            )
        return None

    def _denied(self, admission: Admission, hello: Hello) -> Denied | Stale | None:
        why = admission.verdict.why
        match admission.verdict.ruling:
            case Ruling.ADOPT | Ruling.CONTINUE:
                return None
            case Ruling.RESTORED:
                log.warning("hub was restored: box=%s why=%s", hello.box_id, why)
                return None
            case Ruling.STALE:
                return Stale(fence=admission.row["fence"])
            case Ruling.REVOKED:
                return _revoked()
            case Ruling.BEGIN_ANEW:
                return Denied(code="begin_anew", message=why)
            case Ruling.QUARANTINE:
                log.warning("box quarantined: box=%s why=%s", hello.box_id, why)
                if not admission.verdict.copy_only:
                    self._end_session(hello.box_id, Denied(code="quarantined", message=why, hint=_QUARANTINE_HINT))
                return Denied(code="quarantined", message=why, hint=_QUARANTINE_HINT)

    def _supersede(self, box_id: str) -> None:
        old = self._dispatch.sessions.pop(box_id, None)
        if old is not None:
            old.end(CLOSE_SUPERSEDED, "a newer session of this box took over")

    def _end_session(self, box_id: str, denied: Denied) -> None:
        session = self._dispatch.sessions.get(box_id)
        if isinstance(session, Session):
            session.deny(denied)

    async def _serve_session(self, channel: Channel[FromBox], handshake: Handshake[HubState], session: Session) -> None:
        if self._draining:
            await channel.close(CLOSE_GOING_AWAY, "the hub is going down")
            return
        self._supersede(session.box_id)
        self._dispatch.sessions[session.box_id] = session
        log.info("box connected: box=%s session=%d", session.box_id, session.fence)
        session.begin()
        try:
            while True:
                message = await channel.receive()
                handshake.receive(message)
                await session.receive(message)
        finally:
            handshake.done(CUT)
            session.cut()
            if self._dispatch.sessions.get(session.box_id) is session:
                del self._dispatch.sessions[session.box_id]
                session.write_seen()
            log.info("box disconnected: box=%s session=%d", session.box_id, session.fence)


async def _receive_within(channel: Channel[FromBox], limit_s: float, missing: str) -> FromBox:
    """The next message; `TimeoutError` that says what is missing."""
    try:
        async with asyncio.timeout(limit_s):
            return await channel.receive()
    except TimeoutError as error:
        raise TimeoutError(f"{missing} within {limit_s:.0f} s") from error


def clock_offset_ms(asked_at: int, box_now: int, heard_at: int) -> int:
    """What to add to the box's clock: the smallest correction that puts its time between question and answer."""
    if not box_now:
        return 0
    low, high = asked_at - box_now, heard_at - box_now
    return 0 if low <= 0 <= high else (low if low > 0 else high)


def _revoked() -> Denied:
    return Denied(
        code="revoked", message="the box was revoked", hint="enrol again with a new data folder and a new token"
    )


def _offers_cloudsync(headers: Headers) -> bool:
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    return messages.SUBPROTOCOL in {name.strip() for name in offered.split(",")}


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    wanted = Subprotocol(messages.SUBPROTOCOL)
    return wanted if wanted in offered else None


def _problem(refusal: Refusal) -> Response:
    document = problem.document(refusal.status, refusal.code, refusal.detail, refusal.hint)
    body = json.dumps(document).encode()
    headers = Headers(
        [
            ("Content-Type", problem.MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
    )
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, body)

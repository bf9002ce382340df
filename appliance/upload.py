"""Sends what tasks left to the hub, in the background: after the outcomes that name it, and never before new ones.

One content at a time, in pieces, on from where the hub says that it is. Whatever is cut, the next attempt asks again.
One that the hub has no room for, or does not take, is put aside for a while, and those behind it go first.
Nothing is remembered but what the journal says: that the hub has it, or that it cannot be sent, and why.
"""

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.artifacts import ArtifactStore
from appliance.outbox import Outbox
from appliance.web import Answer, WebConnection, WebFailed
from cloudsync.backoff import Backoff

log = logging.getLogger(__name__)

# A piece is a request, which costs a round trip: of 10 Mbit/s with 100 ms 1 MiB pieces use 89 %, 4 MiB pieces 91 %,
# 128 KiB pieces 52 % (measured). Small ones let a slow link turn to outcomes soon.
FIRST_PIECE_BYTES: Final = 128 * 1024
LEAST_PIECE_BYTES: Final = 16 * 1024
MOST_PIECE_BYTES: Final = 1024 * 1024
# The next piece is larger where one took less, and smaller where one took more.
QUICK_S: Final = 1.0
SLOW_S: Final = 3.0
# The hub reads a whole content back before it answers its last piece.
ANSWER_S: Final = 180.0
READ_BYTES: Final = 64 * 1024
# A hub closes connections on which nothing comes; one that rested for longer is not used again.
IDLE_S: Final = 2.0
# Where outcomes come without end and are acked as they come, a piece may go between them.
BETWEEN_S: Final = 1.0
RETRY_CAP_S: Final = 300.0
# A hub has little use for the same broken content again and again.
MISMATCHES: Final = 3
_NO_ROOM: Final = frozenset({"quota", "no_room", "disk_full"})


class _Passing(Exception):
    """It did not work now; it may later."""


class _Refused(_Passing):
    """The hub does not take this content now; it may take others. `no_room`: none that is as large."""

    def __init__(self, why: str, *, no_room: bool) -> None:
        super().__init__(why)
        self.no_room = no_room


class _Hopeless(Exception):
    """It can never be sent."""


@dataclass(slots=True)
class _Aside:
    """A content that was refused, and until when (the loop's time) it is not tried again."""

    backoff: Backoff
    until: float
    why: str
    size_bytes: int
    no_room: bool


class Uploader:
    """Sends the contents of a store. One `run` at a time, for as long as a session lasts."""

    def __init__(self, store: ArtifactStore, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox
        self._backoff = self._new_backoff()
        self._asides: dict[str, _Aside] = {}
        self._acked = asyncio.Event()
        self._connection: WebConnection | None = None
        self._piece_bytes = FIRST_PIECE_BYTES
        self._mismatches = 0
        self._used_at = 0.0
        self._came = ("", 0)
        self.problem = ""
        """Why the last attempt failed; empty where it did not."""

    def acked(self) -> None:
        """The hub acked events: outcomes that name artifacts may be among them."""
        self._acked.set()

    async def run(self, web_url: str, token: str) -> None:
        """Send what there is, and what comes, until it is cancelled."""
        try:
            while True:
                row, wait_s = self._next()
                if row is None:
                    self._drop()
                    await self._more(wait_s)
                    continue
                try:
                    await self._send(row, web_url, token)
                except _Hopeless as error:
                    self._drop()
                    self._asides.pop(row["sha256"], None)
                    await self._store.lose(row["sha256"], row["size_bytes"], str(error))
                except _Refused as error:
                    self._put_aside(error, row)
                except (_Passing, WebFailed) as error:
                    self._drop()
                    await self._pause(str(error), row)
                else:
                    self._backoff.failures = self._mismatches = 0
                    self._asides.pop(row["sha256"], None)
                    self.problem = next((aside.why for aside in self._asides.values()), "")
        finally:
            self._drop()

    @staticmethod
    def _new_backoff() -> Backoff:
        return Backoff(first_s=1.0, cap_s=RETRY_CAP_S)

    def _next(self) -> tuple[dict[str, Any] | None, float | None]:
        """What is to be sent now; where that is nothing, how long until what was put aside is tried again."""
        now = asyncio.get_running_loop().time()
        resting = {sha256: aside for sha256, aside in self._asides.items() if aside.until > now}
        # Where there was no room for one there is none for any that is as large: they need not all be tried.
        below_bytes = min((aside.size_bytes for aside in resting.values() if aside.no_room), default=None)
        row = self._store.next_to_send(self._outbox.acked, below_bytes=below_bytes, but=resting)
        if row is None and not resting:
            # What is still there has gone from the store meanwhile.
            self._asides.clear()
            self.problem = ""
        wait_s = min((aside.until - now for aside in resting.values()), default=None)
        return row, wait_s

    def _put_aside(self, error: _Refused, row: dict[str, Any]) -> None:
        before = self._asides.get(row["sha256"])
        backoff = self._new_backoff() if before is None else before.backoff
        until = asyncio.get_running_loop().time() + backoff.delay_s(random.random())
        self._asides[row["sha256"]] = _Aside(backoff, until, str(error), row["size_bytes"], error.no_room)
        self._say(str(error), row)

    async def _more(self, wait_s: float | None) -> None:
        """Until something may be there to send, or for so long."""
        self._acked.clear()
        self._store.kept.clear()
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._acked, self._store.kept)]
        try:
            await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _pause(self, why: str, row: dict[str, Any]) -> None:
        self._say(why, row)
        await asyncio.sleep(self._backoff.delay_s(random.random()))

    def _say(self, why: str, row: dict[str, Any]) -> None:
        if why != self.problem:
            self.problem = why
            log.warning("an artifact is not sent yet", extra={"artifact": row["id"], "why": why})

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _send(self, row: dict[str, Any], web_url: str, token: str) -> None:
        """Bring one content to the hub."""
        sha256, size = row["sha256"], row["size_bytes"]
        headers = {"Authorization": f"Bearer {token}"}
        path = f"/api/v1/uploads/{sha256}"
        try:
            fd = os.open(self._store.path(sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _Hopeless("its file is no longer on the box's disk") from error
        try:
            await self._outcomes_first()
            answer = await self._ask(web_url, "GET", path, headers)
            while not answer.body.get("is_complete"):
                offset = _offset(answer, size)
                self._came_to(row, offset)
                length = min(self._piece_bytes, size - offset)
                await self._outcomes_first()
                began = asyncio.get_running_loop().time()
                sent = {**headers, "Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
                answer = await self._ask(web_url, "PATCH", path, sent, _pieces(fd, offset, length), length)
                if answer.status == 200:
                    self._adapt(asyncio.get_running_loop().time() - began)
                elif answer.body.get("code") != "wrong_offset":
                    await self._refused(answer, self._store.path(sha256), sha256)
                    answer = await self._ask(web_url, "GET", path, headers)
        finally:
            os.close(fd)
        await self._store.stored(sha256)
        log.info("an artifact is with the hub", extra={"artifact": row["id"], "bytes": size})

    def _came_to(self, row: dict[str, Any], offset: int) -> None:
        """The hub has so much: where that is more than before, whatever failed meanwhile was no reason to wait long."""
        artifact_id: str = row["id"]
        if artifact_id != self._came[0]:
            before = self._asides.get(row["sha256"])
            self._mismatches = 0 if before is None or before.no_room else MISMATCHES - 1
        elif offset > self._came[1]:
            self._backoff.failures = 0
        self._came = (artifact_id, offset)

    async def _ask(
        self,
        web_url: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: AsyncIterator[bytes] | None = None,
        length: int = 0,
    ) -> Answer:
        """An answer that is one of a hub's to a box in session."""
        if asyncio.get_running_loop().time() - self._used_at > IDLE_S:
            self._drop()
        if self._connection is None:
            self._connection = await WebConnection.open(web_url)
        answer = await self._connection.ask(method, path, headers, body, length=length, answer_s=ANSWER_S)
        self._used_at = asyncio.get_running_loop().time()
        code = answer.body.get("code")
        if code == "not_named":
            raise _Hopeless("the hub no longer keeps its task")
        if code in _NO_ROOM:
            raise _Refused(_why(answer), no_room=True)
        if answer.status == 401 or answer.status >= 500 or (code is None) != (answer.status == 200):
            raise _Passing(_why(answer))
        return answer

    async def _refused(self, answer: Answer, file: Path, sha256: str) -> None:
        """What a refused piece means: that the file has changed here, or that it was spoilt on the way."""
        if answer.body.get("code") not in {"wrong_sha256", "too_large"}:
            raise _Passing(_why(answer))
        if await asyncio.to_thread(_hash, file) != sha256:
            raise _Hopeless("its file has changed on the box's disk")
        self._mismatches += 1
        if self._mismatches >= MISMATCHES:
            raise _Refused(_why(answer), no_room=False)

    async def _outcomes_first(self) -> None:
        """Until no event waits for its ack, or they come and are acked without end."""
        loop = asyncio.get_running_loop()
        until, acked = loop.time() + BETWEEN_S, self._outbox.acked
        while self._outbox.unsynced:
            left_s = until - loop.time()
            if left_s <= 0 and self._outbox.acked > acked:
                return
            self._acked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left_s, 0.01) if self._outbox.acked > acked else None):
                    await self._acked.wait()

    def _adapt(self, took_s: float) -> None:
        if took_s < QUICK_S:
            self._piece_bytes = min(self._piece_bytes * 2, MOST_PIECE_BYTES)
        elif took_s > SLOW_S:
            self._piece_bytes = max(self._piece_bytes // 2, LEAST_PIECE_BYTES)


def _why(answer: Answer) -> str:
    return str(answer.body.get("detail") or f"the hub answered with HTTP status {answer.status}")


def _offset(answer: Answer, size: int) -> int:
    offset = answer.body.get("offset")
    if not isinstance(offset, int) or not 0 <= offset <= size:
        raise _Passing("the hub's answer has no offset")
    return offset


async def _pieces(fd: int, offset: int, length: int) -> AsyncIterator[bytes]:
    while length:
        data = os.pread(fd, min(READ_BYTES, length), offset)
        if not data:
            raise _Hopeless("its file has changed on the box's disk")
        yield data
        offset += len(data)
        length -= len(data)


def _hash(file: Path) -> str:
    with suppress(OSError), file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
    return ""

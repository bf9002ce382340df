"""Sends what tasks left to the hub, in the background: after the outcomes that name it, and never before new ones.

One content at a time, in pieces, on from where the hub says that it is. Whatever is cut, the next attempt asks again.
Nothing is remembered but what the journal says: that the hub has it, or that it cannot be sent, and why.
"""

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
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


class _Passing(Exception):
    """It did not work now; it may later."""


class _Hopeless(Exception):
    """It can never be sent."""


class Uploader:
    """Sends the contents of a store. One `run` at a time, for as long as a session lasts."""

    def __init__(self, store: ArtifactStore, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox
        self._backoff = Backoff(first_s=1.0, cap_s=RETRY_CAP_S)
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
                row = self._store.next_to_send(self._outbox.acked)
                if row is None:
                    self._drop()
                    await self._more()
                    continue
                try:
                    await self._send(row, web_url, token)
                except _Hopeless as error:
                    self._drop()
                    await self._store.lose(row["sha256"], row["size_bytes"], str(error))
                except (_Passing, WebFailed) as error:
                    self._drop()
                    await self._pause(str(error), row)
                else:
                    self._backoff.failures = self._mismatches = 0
                    self.problem = ""
        finally:
            self._drop()

    async def _more(self) -> None:
        """Until something may be there to send."""
        self._acked.clear()
        self._store.kept.clear()
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._acked, self._store.kept)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _pause(self, why: str, row: dict[str, Any]) -> None:
        delay_s = self._backoff.delay_s(random.random())
        if why != self.problem:
            self.problem = why
            log.warning("an artifact is not sent yet", extra={"artifact": row["id"], "why": why})
        await asyncio.sleep(delay_s)

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
                self._came_to(row["id"], offset)
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

    def _came_to(self, artifact_id: str, offset: int) -> None:
        """The hub has so much: where that is more than before, whatever failed meanwhile was no reason to wait long."""
        if (artifact_id, offset) > self._came and artifact_id == self._came[0]:
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
        if answer.status == 401 or answer.status >= 500 or (code is None) != (answer.status == 200):
            raise _Passing(str(answer.body.get("detail") or f"the hub answered with HTTP status {answer.status}"))
        return answer

    async def _refused(self, answer: Answer, file: Path, sha256: str) -> None:
        """What a refused piece means: that the file has changed here, or that it was spoilt on the way."""
        why = str(answer.body.get("detail") or f"the hub answered with HTTP status {answer.status}")
        if answer.body.get("code") not in {"wrong_sha256", "too_large"}:
            raise _Passing(why)
        if await asyncio.to_thread(_hash, file) != sha256:
            raise _Hopeless("its file has changed on the box's disk")
        self._mismatches += 1
        if self._mismatches >= MISMATCHES:
            raise _Passing(why)

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

"""The files that tasks left, by their content, within a budget of the disk.

A file is taken in before its task's outcome is committed: copied, hashed and fsynced, so that nothing of the task can
change it any more. The outcome and the rows of its artifacts are one commit. What lies in the store without a row was
never told of, and goes at the next start. Where room is needed, what the hub has goes first, the oldest before the
newer; then what it has not, which is said. What one task leaves is never given up for itself.
"""

import asyncio
import codecs
import errno
import hashlib
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from appliance import spool
from appliance.batch import Batch, new_event_id
from appliance.folder import free_bytes, open_within, sync_folder
from appliance.journal import DAY_MS, Journal
from appliance.live import now_ms
from appliance.outbox import Outbox
from cloudsync.ids import ordered_id
from cloudsync.labels import labels
from cloudsync.messages import ArtifactEvent
from cloudsync.spec import ARTIFACT_LIMIT_BYTES, Artifact

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 1024 * 1024
# So that an outcome can name 500: an artifact takes at most 400 bytes of it.
MEDIA_TYPE_BYTES: Final = 60
# Contents that are looked at in one go when room is made.
VICTIMS: Final = 500
_DRAFT: Final = ".draft-"
_DISK_FULL: Final = "the box's disk is full"
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"

_ADD: Final = """
INSERT INTO artifacts (id, task_id, name, media_type, size_bytes, sha256, state, why, here, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_STORED: Final = "UPDATE artifacts SET state = 'stored' WHERE sha256 = ? AND state = 'kept'"
_LOST: Final = "UPDATE artifacts SET state = 'lost', why = ?, here = 0 WHERE id = ? AND state = 'kept'"
_GONE: Final = "UPDATE artifacts SET here = 0 WHERE sha256 = ? AND state = 'stored'"
_UNSTORED: Final = """
UPDATE artifacts SET state = 'kept' WHERE state = 'stored' AND here
AND task_id IN (SELECT id FROM tasks WHERE final_seq > ?)"""
_UNSTORED_GONE: Final = """
SELECT id, task_id FROM artifacts WHERE state = 'stored' AND NOT here
AND task_id IN (SELECT id FROM tasks WHERE final_seq > ?)"""
_LOST_BY_HUB: Final = "UPDATE artifacts SET state = 'lost', why = ? WHERE id = ?"
_FORGET: Final = "DELETE FROM artifacts WHERE n IN (SELECT n FROM artifacts WHERE NOT here AND at < ? LIMIT ?)"
_HERE: Final = "SELECT DISTINCT sha256, size_bytes FROM artifacts WHERE here"
_IS_HERE: Final = "SELECT 1 AS found FROM artifacts WHERE sha256 = ? AND here LIMIT 1"
_OF_TASK: Final = "SELECT * FROM artifacts WHERE task_id = ? ORDER BY n"
_ONE: Final = "SELECT * FROM artifacts WHERE id = ?"
_KEPT: Final = "SELECT id, task_id FROM artifacts WHERE sha256 = ? AND here AND state = 'kept'"
_OLD_STORED: Final = """
SELECT sha256, size_bytes FROM artifacts a WHERE here AND state = 'stored' AND (at < ?1 OR ?1 IS NULL)
AND NOT EXISTS (SELECT 1 FROM artifacts b WHERE b.sha256 = a.sha256 AND b.here AND b.state = 'kept')
ORDER BY n LIMIT ?2"""
_OLD_KEPT: Final = "SELECT sha256, size_bytes FROM artifacts WHERE here AND state = 'kept' ORDER BY n LIMIT ?"
_UNSENT: Final = "SELECT count(*) AS unsent FROM artifacts WHERE here AND state = 'kept'"
_TO_SEND: Final = """
SELECT a.* FROM artifacts a LEFT JOIN tasks t ON t.id = a.task_id
WHERE a.here AND a.state = 'kept' AND (t.id IS NULL OR t.final_seq <= ?1)
AND (?2 IS NULL OR a.size_bytes < ?2) AND a.sha256 NOT IN (SELECT value FROM json_each(?3)) ORDER BY a.n LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a task left. Without a media type it is text where it is UTF-8. `spool_limit_bytes`: it is a spool,
    whose middle may have been given back."""

    name: str
    path: Path
    media_type: str = ""
    spool_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Files that were taken in and are to be entered with their task's outcome."""

    artifacts: tuple[Artifact, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    """Why there was no room for some of them, by id."""


class ArtifactStore:
    """The store under `root`. Methods are called on the loop's thread."""

    def __init__(self, root: Path, journal: Journal, outbox: Outbox, limit_bytes: int, floor_bytes: int) -> None:
        self._root = root
        self._journal = journal
        self._outbox = outbox
        self._limit_bytes = limit_bytes
        self._floor_bytes = floor_bytes
        self._lock = threading.Lock()
        # Contents that are being taken in: they stay, whatever the journal says of others like them.
        self._pinned: Counter[str] = Counter()
        self._leaving: dict[str, int] = {}
        self._is_stopped = False
        self.used_bytes = 0
        self.kept = asyncio.Event()
        """Set when something is to be sent to the hub."""

    # Taking in

    async def take_in(self, folder: Path, found: Sequence[Found]) -> Taken:
        """Copy, hash and fsync these files of a task's folder; what is no plain file in it is left out. Give the result
        to `enter`."""
        return await asyncio.to_thread(self._take_in, folder, found) if found else Taken()

    def _take_in(self, folder: Path, found: Sequence[Found]) -> Taken:
        artifacts: list[Artifact] = []
        lost: dict[str, str] = {}
        for one, name in zip(found, labels(one.name for one in found), strict=True):
            try:
                artifact, why = self._take_one(folder, one, name)
            except OSError as error:
                log.warning("a file of a task is not kept", extra={"file": name, "error": error.strerror or str(error)})
                continue
            artifacts.append(artifact)
            if why:
                lost[artifact.id] = why
        sync_folder(self._root)
        return Taken(tuple(artifacts), lost)

    def _take_one(self, folder: Path, found: Found, name: str) -> tuple[Artifact, str]:
        fd = open_within(folder, found.path)
        artifact_id = ordered_id(now_ms(), os.urandom(8))
        draft = self._root / f"{_DRAFT}{artifact_id}"
        try:
            status = os.fstat(fd)
            is_spool = found.spool_limit_bytes is not None
            why = self._no_room(status.st_blocks * 512 if is_spool else status.st_size)
            pieces = self._until_stopped(spool.read_whole(fd, found.spool_limit_bytes, PIECE_BYTES))
            copied = _copy(pieces, None if why else draft)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        why = why or ("" if copied.is_kept else _DISK_FULL)
        if why:
            draft.unlink(missing_ok=True)
        else:
            self._put(draft, copied.sha256, copied.size_bytes)
        artifact = Artifact(
            id=artifact_id,
            name=name,
            media_type=found.media_type[:MEDIA_TYPE_BYTES] or (_TEXT if copied.is_text else _BYTES),
            size_bytes=copied.size_bytes,
            sha256=copied.sha256,
        )
        return artifact, why

    def _until_stopped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._is_stopped:
                raise OSError("the box's daemon stops")
            yield piece

    def _no_room(self, size_bytes: int) -> str:
        if size_bytes > min(ARTIFACT_LIMIT_BYTES, self._limit_bytes):
            limit = min(ARTIFACT_LIMIT_BYTES, self._limit_bytes) // 1024**2
            return f"it is larger than the {limit} MiB that the box keeps"
        free = free_bytes(self._root) - size_bytes
        return _DISK_FULL if free < self._floor_bytes // 2 else ""

    def _put(self, draft: Path, sha256: str, size: int) -> None:
        """Give a copied file its place, unless its content is there."""
        place = self._root / sha256
        with self._lock:
            self._pinned[sha256] += 1
            if place.exists():
                draft.unlink()
            else:
                draft.rename(place)
                self.used_bytes += size

    def enter(self, batch: Batch, task_id: str, taken: Taken) -> None:
        """Enter what was taken in, behind the event that tells of it, and make room for it."""
        now = now_ms()
        for artifact in taken.artifacts:
            why = taken.lost.get(artifact.id, "")
            state = "lost" if why else "kept"
            values = (artifact.id, task_id, artifact.name, artifact.media_type, artifact.size_bytes, artifact.sha256)
            batch.add((_ADD, (*values, state, why, not why, now)))
            if why:
                _tell_lost(batch, artifact.id, task_id, why)
        if taken.artifacts:
            self._make_room(batch)
            batch.then(partial(self._entered, taken))

    def _entered(self, taken: Taken) -> None:
        with self._lock:
            for artifact in taken.artifacts:
                if artifact.id not in taken.lost:
                    self._pinned[artifact.sha256] -= 1
                    if not self._pinned[artifact.sha256]:
                        del self._pinned[artifact.sha256]
        self.kept.set()

    def stop(self) -> None:
        """Give up what is being taken in: nobody waits for it any more, and the next start takes it in again."""
        self._is_stopped = True

    # Making room

    def tidy(self, keep_days: int) -> None:
        """Let go what the hub has and is old, or what stands in the way of the disk's floor; forget old rows."""
        old_ms = now_ms() - keep_days * DAY_MS
        batch = Batch(self._journal, self._outbox)
        self._drop_stored(batch, self.used_bytes, old_ms)
        self._drop_stored(batch, self._floor_bytes - free_bytes(self._root), None)
        batch.add((_FORGET, (old_ms, VICTIMS)))
        batch.commit()

    def _make_room(self, batch: Batch) -> None:
        need_bytes = self.used_bytes - sum(self._leaving.values()) - self._limit_bytes
        need_bytes -= self._drop_stored(batch, need_bytes, None)
        if need_bytes <= 0:
            return
        why = f"the box keeps {self._limit_bytes // 1024**2} MiB, and newer ones needed the room"
        for row in self._journal.rows(_OLD_KEPT, (VICTIMS,)):
            if need_bytes <= 0:
                return
            if self._may_leave(row["sha256"]):
                need_bytes -= row["size_bytes"]
                self._lose(batch, row["sha256"], row["size_bytes"], why)

    def _drop_stored(self, batch: Batch, need_bytes: int, old_ms: int | None) -> int:
        """Let contents go that the hub has, until so much is free; how much that is."""
        freed = 0
        if need_bytes <= 0:
            return freed
        for row in self._journal.rows(_OLD_STORED, (old_ms, VICTIMS)):
            if freed >= need_bytes:
                break
            if self._may_leave(row["sha256"]):
                freed += row["size_bytes"]
                batch.add((_GONE, (row["sha256"],)))
                self._leave(batch, row["sha256"], row["size_bytes"])
        return freed

    def _may_leave(self, sha256: str) -> bool:
        return sha256 not in self._pinned and sha256 not in self._leaving

    def _lose(self, batch: Batch, sha256: str, size_bytes: int, why: str) -> None:
        for row in self._journal.rows(_KEPT, (sha256,)):
            batch.add((_LOST, (why, row["id"])))
            _tell_lost(batch, row["id"], row["task_id"], why)
            log.warning("an artifact is lost", extra={"artifact": row["id"], "task": row["task_id"], "why": why})
        batch.add((_GONE, (sha256,)))
        self._leave(batch, sha256, size_bytes)

    def _leave(self, batch: Batch, sha256: str, size_bytes: int) -> None:
        self._leaving[sha256] = size_bytes
        batch.then(partial(self._left, sha256, size_bytes))

    def _left(self, sha256: str, size_bytes: int) -> None:
        del self._leaving[sha256]
        self._unlink(sha256, size_bytes)

    def _unlink(self, sha256: str, size_bytes: int) -> None:
        with self._lock:
            if sha256 in self._pinned or self._journal.rows(_IS_HERE, (sha256,)):
                return
            try:
                (self._root / sha256).unlink()
            except FileNotFoundError:
                return
            self.used_bytes -= size_bytes

    # At the start

    def sweep(self) -> None:
        """Remove what no row tells of, and say what should be here and is not."""
        told = {row["sha256"]: row["size_bytes"] for row in self._journal.rows(_HERE)}
        there = {path.name for path in self._root.iterdir()}
        for name in there - told.keys():
            (self._root / name).unlink()
        self.used_bytes = sum(told[name] for name in there & told.keys())
        batch = Batch(self._journal, self._outbox)
        for sha256 in told.keys() - there:
            self._lose(batch, sha256, 0, "its file is no longer on the box's disk")
        batch.commit()

    # For those who read and send

    def of_task(self, task_id: str) -> list[dict[str, Any]]:
        """The rows of a task's artifacts, in their order."""
        return self._journal.rows(_OF_TASK, (task_id,))

    def find(self, artifact_id: str) -> dict[str, Any] | None:
        """The row of one; None where the id is not known."""
        return next(iter(self._journal.rows(_ONE, (artifact_id,))), None)

    def path(self, sha256: str) -> Path:
        """Where the bytes lie, of a row that is `here`."""
        return self._root / sha256

    def unsent(self) -> int:
        """How many the hub lacks."""
        count: int = self._journal.rows(_UNSENT)[0]["unsent"]
        return count

    def next_to_send(
        self, acked_seq: int, *, below_bytes: int | None = None, but: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """The oldest that the hub lacks and whose outcome it has acked: a smaller one than so much, with none of these
        hashes."""
        return next(iter(self._journal.rows(_TO_SEND, (acked_seq, below_bytes, json.dumps([*but])))), None)

    async def stored(self, sha256: str) -> None:
        """kept -> stored: the hub has this content."""
        await self._journal.committed([(_STORED, (sha256,))])

    async def lose(self, sha256: str, size_bytes: int, why: str) -> None:
        """kept -> lost: this content cannot be sent."""
        batch = Batch(self._journal, self._outbox)
        self._lose(batch, sha256, size_bytes, why)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch.then(lambda: None if durable.done() else durable.set_result(None))
        batch.commit()
        await durable

    def unstored(self, hub_has_seq: int) -> None:
        """stored -> kept, or lost: the hub was restored to a time when it had no event above this one."""
        batch = Batch(self._journal, self._outbox)
        batch.add((_UNSTORED, (hub_has_seq,)))
        why = "the hub lost it after the box had let it go"
        for row in self._journal.rows(_UNSTORED_GONE, (hub_has_seq,)):
            batch.add((_LOST_BY_HUB, (why, row["id"])))
            _tell_lost(batch, row["id"], row["task_id"], why)
        batch.commit()


@dataclass(frozen=True, slots=True)
class _Copied:
    """What was read of a file; `is_kept`: the draft holds it."""

    size_bytes: int
    sha256: str
    is_text: bool
    is_kept: bool


def _copy(pieces: Iterator[bytes], draft: Path | None) -> _Copied:
    """Write the pieces to the draft and fsync it; where there is none, or no room, they are only looked through."""
    sha256 = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    size, is_text = 0, True
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = None if draft is None else os.open(draft, flags, 0o600)
    is_kept = fd is not None
    try:
        for piece in pieces:
            size += len(piece)
            sha256.update(piece)
            is_text = is_text and _decodes(decoder, piece)
            if fd is not None and is_kept:
                is_kept = _has_room(partial(_write, fd, piece))
        if fd is not None and is_kept:
            is_kept = _has_room(partial(os.fsync, fd))
    finally:
        if fd is not None:
            os.close(fd)
    is_text = is_text and _decodes(decoder, b"", final=True)
    return _Copied(size, sha256.hexdigest(), is_text, is_kept)


def _has_room(call: Callable[[], None]) -> bool:
    try:
        call()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return False
        raise
    return True


def _decodes(decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        return False
    return True


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _tell_lost(batch: Batch, artifact_id: str, task_id: str, why: str) -> None:
    batch.event(ArtifactEvent(id=new_event_id(), at_ms=now_ms(), artifact_id=artifact_id, task_id=task_id, why=why))

"""The files of artifacts: `<customer>/<aa>/<sha256>`, each whole and verified, or not there.

Theory of operation. What comes is appended to a partial file, `<customer>/partial/<sha256>.<box>`, wherever its
transfer is cut. Once it has its size it is read back, compared with its hash, fsynced and renamed into its place; then
the database says that it is there. So a file at its place is complete whatever was killed meanwhile; one that the
database does not know of is found again by the next upload of the same content, or removed when it is old. A partial
file is not fsynced: what a power cut leaves of it fails its hash, and comes again.

Work on the disk is done in threads of its own, so that a slow disk holds up no request that reads the database.
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from hub.artifacts import Content
from hub.errors import Refusal

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS: Final = 2
READ_BYTES: Final = 256 * 1024
# What has come of an upload that nobody goes on with, and whole files that the database does not know of.
STALE_S: Final = 7 * 24 * 3600
# Free space that stays for the database.
FLOOR_BYTES: Final = 256 * 1024 * 1024
_LATER: Final = "the box tries again by itself; "


class Blobs:
    """The files under `root`, at most `limit_bytes` of them. Methods are called on the loop's thread."""

    def __init__(self, root: Path, limit_bytes: int, floor_bytes: int = FLOOR_BYTES) -> None:
        self._root = root
        self.limit_bytes = limit_bytes
        self._floor_bytes = floor_bytes
        self._pool = ThreadPoolExecutor(THREADS, "blobs")
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._used: dict[str, int] = {}

    def close(self) -> None:
        """Wait for the disk to end what it has begun."""
        self._pool.shutdown(cancel_futures=True)

    async def do(self, call: Callable[[], T]) -> T:
        """Work on the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    # Room

    @property
    def used_bytes(self) -> int:
        """What the contents take that the database knows of."""
        return sum(self._used.values())

    def count(self, customer_id: str, size_bytes: int) -> None:
        """A content came, or went where the size is negative."""
        self._used[customer_id] = self._used.get(customer_id, 0) + size_bytes

    def check_room(self, content: Content, offset: int, quota_bytes: int | None) -> None:
        """507 where what is still to come has no room: on this hub, or in what the customer's plan allows."""
        used = self._used.get(content.customer_id, 0)
        if quota_bytes is not None and used + content.size_bytes > quota_bytes:
            detail = f"the customer's plan allows {_mib(quota_bytes)} of artifacts and {_mib(used)} are stored"
            raise Refusal(507, "quota", detail, hint=f"{_LATER}choose a larger plan to keep more")
        if self.used_bytes + content.size_bytes > self.limit_bytes:
            detail = f"the hub keeps {_mib(self.limit_bytes)} of artifacts and {_mib(self.used_bytes)} are stored"
            raise Refusal(507, "no_room", detail, hint=f"{_LATER}raise artifact_limit_mib in the hub's settings")
        usage = os.statvfs(self._root)
        free = usage.f_bavail * usage.f_frsize
        if free < content.size_bytes - offset + self._floor_bytes:
            raise full(f"the hub's disk has {_mib(free)} free")

    # Places

    def place(self, content: Content) -> Path:
        """Where the whole file lies."""
        return self._root / content.customer_id / content.sha256[:2] / content.sha256

    def draft(self, content: Content, box_id: str) -> Path:
        """Where lies what has come of it from a box."""
        box = hashlib.sha256(box_id.encode()).hexdigest()[:16]
        return self._root / content.customer_id / "partial" / f"{content.sha256}.{box}"

    def lock(self, path: Path) -> asyncio.Lock:
        """Held by whoever changes a file."""
        lock = self._locks.get(path)
        if lock is None:
            lock = self._locks[path] = asyncio.Lock()
        return lock

    # Taking in

    def offset(self, content: Content, box_id: str) -> int:
        """How much of it is here; its size where it is whole."""
        for path in (self.place(content), self.draft(content, box_id)):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                continue
        return 0

    async def append(self, content: Content, box_id: str, offset: int, data: bytes) -> bool:
        """Write at the end of what is here; False where that end is not at `offset`: somebody else wrote meanwhile."""
        path = self.draft(content, box_id)
        async with self.lock(path):
            return await self.do(lambda: _append(path, offset, data))

    async def complete(self, content: Content, box_id: str) -> bool:
        """Verify what has come and put it into its place; False where it has another hash: it is gone then."""
        draft, place = self.draft(content, box_id), self.place(content)
        async with self.lock(draft), self.lock(place):
            return await self.do(lambda: _complete(draft, place, content))

    async def discard(self, content: Content) -> None:
        """Remove a file that no artifact names. Call with its lock held."""
        await self.do(lambda: self.place(content).unlink(missing_ok=True))
        self.count(content.customer_id, -content.size_bytes)

    # Giving out

    async def read(self, content: Content, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to `stop`; 410 where its file is not there, before anything is answered."""
        pieces = self._read(content, start, stop)
        try:
            await anext(pieces)
        except FileNotFoundError as error:
            # It is not lost by that: a disk may not be mounted, or a backup be without its files yet.
            hint = "put the hub's folder 'artifacts' back from its backup, or run the task again"
            raise Refusal(410, "gone", "its file is no longer on the hub's disk", hint=hint) from error
        return pieces

    async def _read(self, content: Content, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        fd = await self.do(lambda: os.open(self.place(content), os.O_RDONLY | os.O_CLOEXEC))
        try:
            yield b""  # it is open
            while start < stop:
                offset, length = start, min(READ_BYTES, stop - start)
                data = await self.do(partial(os.pread, fd, length, offset))
                if not data:
                    return
                start += len(data)
                yield data
        finally:
            os.close(fd)

    # Sweeping

    async def sweep(self, is_known: Callable[[str, str], bool]) -> int:
        """Remove old parts and old files that the database does not know of (`is_known(customer, sha256)`)."""
        before = time.time() - STALE_S
        removed = 0
        for path in await self.do(lambda: _older_than(self._root, before)):
            customer_id = path.relative_to(self._root).parts[0]
            async with self.lock(path):
                if path.parent.name == "partial" or not is_known(customer_id, path.name):
                    removed += await self.do(partial(_remove_old, path, before))
        return removed


def full(detail: str) -> Refusal:
    """507: the disk has no room."""
    return Refusal(507, "disk_full", detail, hint=f"{_LATER}free some space on the hub's disk")


def _append(path: Path, offset: int, data: bytes) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size != offset:
            return False
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
    finally:
        os.close(fd)
    return True


def _complete(draft: Path, place: Path, content: Content) -> bool:
    if place.exists():
        os.utime(place)  # young again: it is about to be known
        draft.unlink(missing_ok=True)
        return True
    fd = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sha256 = hashlib.sha256()
        while piece := os.read(fd, READ_BYTES):
            sha256.update(piece)
        if sha256.hexdigest() != content.sha256:
            draft.unlink()
            return False
        os.fsync(fd)
    finally:
        os.close(fd)
    _make_durably(place.parent)
    draft.rename(place)
    _sync(place.parent)
    return True


def _make_durably(folder: Path) -> None:
    """A folder whose name outlives a power cut, and so do those above it up to the one that was there."""
    if not folder.exists():
        _make_durably(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_old(path: Path, before: float) -> bool:
    try:
        if path.stat().st_mtime >= before:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _older_than(root: Path, when: float) -> list[Path]:
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                if path.stat().st_mtime < when:
                    found.append(path)
            except FileNotFoundError:
                continue
    return found


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.0f} MiB"

"""The files that tasks write their output to: reading them, and keeping one without end from filling the disk.

Paths are strings here: these calls are made for every task.
"""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.output import Stream
from cloudsync.messages import ENTRY_LIMIT_BYTES

# More of either end cannot be in an outcome.
END_BYTES: Final = ENTRY_LIMIT_BYTES
_PUNCH_HOLE_KEEP_SIZE: Final = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, fallocate(2)
# Blocks are freed by whole pages.
_PAGE: Final = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def read_ends(path: str) -> Stream:
    """What an outcome can use of a spool file; an empty stream where there is none."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116
        if size == 0:
            return Stream()
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Stream()
    try:
        if size <= 2 * END_BYTES:
            head = _read(fd, 0, size)
            return Stream(head=head, total_bytes=len(head))
        return Stream(_read(fd, 0, END_BYTES), _read(fd, size - END_BYTES, END_BYTES), size)
    finally:
        os.close(fd)


def read_piece(path: str, offset: int, limit_bytes: int) -> bytes:
    """Up to `limit_bytes` from `offset` on; empty at the end or where there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, limit_bytes, offset)
    finally:
        os.close(fd)


def size_bytes(path: str) -> int:
    """How much the task has written to it."""
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


@dataclass(slots=True)
class SpoolGuard:
    """Holds one spool file under a limit of disk space: its middle is given back while head and tail stay."""

    path: str
    limit_bytes: int
    punched_to: int = field(default=0)

    def check(self) -> bool:
        """Give back what is over the limit; whether there was something."""
        size = size_bytes(self.path)
        half = self.limit_bytes // 2 // _PAGE * _PAGE
        start = max(half, self.punched_to)
        end = (size - half) // _PAGE * _PAGE
        # Half a limit at a time, not a page at each look.
        if size - (self.punched_to - half if self.punched_to else 0) <= self.limit_bytes or end <= start:
            return False
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _punch(fd, start, end - start)
        finally:
            os.close(fd)
        self.punched_to = end
        return True


def read_whole(fd: int, limit_bytes: int | None, piece_bytes: int) -> Iterator[bytes]:
    """All that a file holds, in pieces; where the middle of a spool with a limit was given back, a line that says how
    much."""
    size = os.fstat(fd).st_size
    is_guarded = limit_bytes is not None and size > limit_bytes
    start, end = _hole(fd, size) if is_guarded else (size, size)
    yield from _pieces(fd, 0, start, piece_bytes)
    if start < end:
        yield f"\n[… {end - start} bytes left out …]\n".encode()
        yield from _pieces(fd, end, size, piece_bytes)


def _hole(fd: int, size: int) -> tuple[int, int]:
    """Where the first hole begins and ends (lseek(2)); both are the size where there is none."""
    start = os.lseek(fd, 0, os.SEEK_HOLE)
    if start >= size:
        return size, size
    try:
        return start, os.lseek(fd, start, os.SEEK_DATA)
    except OSError:  # ENXIO: it reaches to the end
        return start, size


def _pieces(fd: int, start: int, end: int, piece_bytes: int) -> Iterator[bytes]:
    while start < end and (piece := os.pread(fd, min(piece_bytes, end - start), start)):
        start += len(piece)
        yield piece


def used_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _read(fd: int, offset: int, length: int) -> bytes:
    """`length` bytes, or what there is."""
    data = os.pread(fd, length, offset)
    while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
        data += more
    return data


def _punch(fd: int, offset: int, length: int) -> None:
    """Free these blocks. A file system that cannot (EOPNOTSUPP) leaves the task to the disk's own limit."""
    _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(length))

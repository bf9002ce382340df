"""The files that tasks write their output to: reading them, and keeping one without end from filling the disk.

Paths are strings here: these calls are made for every task.
"""

import ctypes
import os
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

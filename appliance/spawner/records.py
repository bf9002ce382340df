"""What the spawner leaves in folders: its own names, and of attempts small JSON files, believed only in their boot."""

from __future__ import annotations

import errno
import json
import os

from appliance.spawner.kernel import read_stat

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from typing import Any

SOCKET_NAME = "spawner.sock"
LOCK_NAME = "spawner.lock"
# No record is longer: a key and a boot id have their limits.
RECORD_BYTES = 1024

encode = json.JSONEncoder(separators=(",", ":")).encode


class Process:
    """A process that was started, and the stamp it carries.

    `start_time` is when it began, in ticks since boot; 0 until `identify`, which is put off since a short task is over
    before anybody needs it.
    """

    __slots__ = ("pid", "stamp", "start_time")

    def __init__(self, pid: int, stamp: int) -> None:
        self.pid, self.stamp, self.start_time = pid, stamp, 0

    def identify(self) -> None:
        """Learn its start time; it must not have been reaped."""
        if not self.start_time and (stat := read_stat(self.pid)):
            self.start_time = stat.start_time


def write_record(folder: str, name: str, record: dict[str, Any]) -> None:
    """Write a JSON file; OSError where the disk does not take it whole. A reader takes half a record for none.

    All are of one length, and written over in a folder that is used again: to truncate it would make ext4 write it to
    the disk at once (auto_da_alloc: 148 µs against 4).
    """
    text = encode(record).encode().ljust(RECORD_BYTES)
    if len(text) > RECORD_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)


def record_start(folder: str, process: Process, key: str | None, boot_id: str) -> None:
    """Write `started`; OSError. `key` None: of the attempt that the folder is named after."""
    process.identify()
    record = {
        "pid": process.pid,
        "start_time": process.start_time,
        "boot_id": boot_id,
        "stamp": process.stamp,
        "key": key,
    }
    write_record(folder, "started", record)

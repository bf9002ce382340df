"""What the kernel knows of processes, by /proc: who they are, whose they are, and which of them live."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

MARKER = "OPERIS_ATTEMPT"
# Above 128 KiB, malloc would map and unmap a buffer for each read.
READ_BYTES = 65536
# Probing this many ids costs as much as listing /proc on a small machine.
PROBE_LIMIT = 128
# A tree that forks while it is looked at or killed is swept again at once this often, then after a pause.
SWEEPS = 20
# Open for good: it is read for every task, and when no more files may be opened too.
LOADAVG_FD = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)


class Stat:
    """The fields of /proc/PID/stat that say who a process belongs to (proc(5)); start_time in ticks since boot."""

    __slots__ = ("group", "parent", "session", "start_time", "state", "threads")

    def __init__(self, text: bytes) -> None:
        # The command name may hold spaces and parentheses: the fields begin after its last one.
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.threads, self.start_time = int(fields[17]), int(fields[19])


def read_file(path: str) -> bytes:
    """The whole of a small file; b"" where it is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    except OSError:  # the process ended between open and read
        return b""
    finally:
        os.close(fd)


def read_stat(pid: int) -> Stat | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, 4096)  # one line, given whole
    except OSError:  # the process ended between open and read
        return None
    finally:
        os.close(fd)
    return Stat(text) if text else None


def read_stamp(pid: int) -> int:
    """The stamp a process carries; 0 for none."""
    for line in read_file(f"/proc/{pid}/limits").splitlines():
        if line.startswith(b"Max file locks"):
            hard = line.split()[4]
            return int(hard) if hard.isdigit() else 0
    return 0


def read_marker(pid: int) -> str | None:
    """The key in the environment that a process was started with."""
    prefix = MARKER.encode() + b"="
    for entry in read_file(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def read_boot_id() -> str:
    return read_file("/proc/sys/kernel/random/boot_id").decode().strip()


def open_children(pid: int) -> int:
    """A descriptor from which the ids of our children can be read; -1 where this kernel does not tell them."""
    try:
        return os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def newest_pid() -> int:
    """The process or thread id that the kernel gave last."""
    return int(os.pread(LOADAVG_FD, 256, 0).rsplit(None, 1)[1])


def all_pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def scan(older_pid: int | None, apart: Container[int] = ()) -> dict[int, Stat]:
    """The processes younger than `older_pid` (None: all) but those `apart`, read in the order of their ids.

    A parent that ended before it was read had handed its child, of a larger id, to the subreaper; so a tree that
    lives is always seen by at least one of its processes, however quickly it forks.
    """
    last = newest_pid()
    pids: Iterable[int]
    if older_pid is None or not 0 <= last - older_pid <= PROBE_LIMIT:
        pids = all_pids()
    else:
        pids = range(older_pid + 1, last + 1)
    found: dict[int, Stat] = {}
    for _ in range(SWEEPS):
        for pid in pids:
            if pid not in apart and (stat := read_stat(pid)):
                found[pid] = stat
        newest = newest_pid()
        if newest <= last:
            break
        pids, last = range(last + 1, newest + 1), newest
    return found


def descendants(found: dict[int, Stat], tops: Iterable[int]) -> set[int]:
    """`tops` and all that descends from them."""
    children: dict[int, list[int]] = {}
    for pid, stat in found.items():
        children.setdefault(stat.parent, []).append(pid)
    tree: set[int] = set()
    ahead = list(tops)
    while ahead:
        pid = ahead.pop()
        if pid not in tree:
            tree.add(pid)
            ahead.extend(children.get(pid, ()))
    return tree


def send_signal(send: Callable[[int, int], None], target: int, number: int) -> bool:
    """By `os.kill` or `os.killpg`; False where the target ended meanwhile, or became another user's."""
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True

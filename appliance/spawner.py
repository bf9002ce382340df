"""The process that starts tasks, waits on them and ends their trees; it outlives the daemon.

Run as `python -I -S spawner.py --folder DIR`. It imports nothing of Operis and little of the standard library, so that
it stays small: `posix_spawn` from a small process is the quickest way to start one. It has one thread.

Protocol: JSON lines on the Unix socket DIR/spawner.sock. One daemon is served at a time, the newest wins. In:
`prepare`, `spawn`, `terminate`, `kill`, `list`, `retire` (field `op`); out: `hello`, `started`, `failed`, `exited`,
and `gone` when nothing of an attempt lives any more (field `ev`). What an attempt leaves in its folder: `stdout` and
`stderr`, which the process writes itself; `started`; `exit`, written before `exited` is said. They are not fsynced, so
they count only in the boot and for the attempt that they name. `spawn` may name a folder of an attempt that is gone
(`reuse`): it is renamed, which costs a journaling file system less than making one and removing it.

What a process is to do may be fed to it, on descriptor 9. After `prepare` a few processes of the usual program are
started ahead of time and wait there, each in a folder of its own, for one attempt: its folder is renamed, then it is
fed and goes on; nothing is left to do but the work itself. One that is never fed reads the end of its input and ends.
Its record names no attempt: the name of the folder does, from the moment it is renamed.

Whose is a process? Each attempt is a process group of its own and carries a **stamp**: a hard RLIMIT_LOCKS that no
other attempt has. No kernel since 2.4.25 looks at that limit, but it passes through fork, exec, setsid, a changed
process group and `env -i`. The spawner is the child subreaper, so the top of whatever outlives its parent becomes its
child; the stamp then says whose it is, else the variable OPERIS_ATTEMPT, else its age.
A session of its own would be a scheduling group of its own too (autogroup), and start 5 ms later on a busy machine.
Cgroups would say the same, but a move into one waits for an RCU grace period: 5 to 15 ms for a task after a pause.

SIGTERM, SIGINT and SIGHUP are ignored: only `retire`, or 30 s with neither daemon nor task, ends the spawner.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any

MARKER = "OPERIS_ATTEMPT"
SOCKET_NAME = "spawner.sock"
LOCK_NAME = "spawner.lock"

# Long enough to flush a file, short enough that what a task left behind is not mistaken for a service.
LEFTOVER_GRACE_S = 1.0
# A process in uninterruptible sleep ignores SIGKILL; the outcome of a task does not wait for it any longer than this.
KILL_LIMIT_S = 10.0
# No kernel hands out a whole cycle of process ids (32,768 at least) in this time: until then a larger id is younger.
CYCLE_S = 0.25
# How many processes wait for their attempt. One serves tasks that come one after another, the second a pair.
WAITING = 2
# With more than this many attempts running none is prepared: the processors have enough to do.
BUSY = 2
# A process that runs longer than this leaves time to prepare the next one.
PREPARE_S = 0.002
FEED_FD = 9
# What a pipe takes at once (pipe(7), PIPE_BUF); what is longer is fed from a file in memory.
FEED_BYTES = 4096
# A start that is an end a moment later is neither recorded nor worth a wake-up of the daemon.
HOLD_S = 0.002
# Above 128 KiB, malloc would map and unmap a buffer for each read.
READ_BYTES = 65536
# Longer than any record.
RECORD_BYTES = 512
# What short tasks left behind is looked for together, this often: a search costs as much as half a task.
SEARCH_S = 0.02
# Probing this many ids costs as much as listing /proc on a small machine.
PROBE_LIMIT = 128
# A tree that forks while it is killed is swept again at once this often, then after a pause.
SWEEPS = 20
LINGER_S = 30.0
LOCK_LIMIT_S = 1.0
PR_SET_CHILD_SUBREAPER = 36
RLIMIT_LOCKS = 10  # <asm-generic/resource.h>; the `resource` module has no name for it
STAMP_CEILING = 1 << 62
# Open for good: it is read for every task, and when no more files may be opened too.
LOADAVG_FD = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
# Linux gives no descriptor above it unless an administrator raised fs.nr_open.
HIGHEST_FD = 1024 * 1024
# Python ignores SIGPIPE and SIGXFSZ, a shell that started the daemon may have ignored more: no task inherits that.
IGNORED_SIGNALS = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]

encode = json.JSONEncoder(separators=(",", ":")).encode


class SpawnRefused(Exception):
    """A spawn that did not happen; the text says what was wrong with what."""


class Phase(enum.Enum):
    """How far the end of an attempt has come."""

    RUNNING = "running"
    TERMINATING = "terminating"  # SIGTERM was sent, SIGKILL follows at `wake_at`
    KILLING = "killing"  # SIGKILL was sent, the tree is looked at again at `wake_at`


class Stat:
    """The fields of /proc/PID/stat that say who a process belongs to (proc(5)); start_time in ticks since boot."""

    __slots__ = ("group", "parent", "session", "start_time", "state", "threads")

    def __init__(self, text: bytes) -> None:
        # The command name may hold spaces and parentheses: the fields begin after its last one.
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.threads, self.start_time = int(fields[17]), int(fields[19])


class Process:
    """A process that was started: the stamp it carries, and when it began, in ticks since boot."""

    __slots__ = ("pid", "stamp", "start_time")

    def __init__(self, pid: int, stamp: int) -> None:
        stat = read_stat(pid)
        self.pid, self.stamp, self.start_time = pid, stamp, stat.start_time if stat else 0


class Waiting:
    """A process that was started ahead of time, its folder, and the pipe by which it hears what to do."""

    __slots__ = ("feed_fd", "folder", "process")

    def __init__(self, process: Process, folder: str, feed_fd: int) -> None:
        self.process, self.folder, self.feed_fd = process, folder, feed_fd


class Attempt:
    """One run of one task: its leader process, and how far its end has come."""

    __slots__ = (
        "began_s",
        "born_s",
        "exit",
        "folder",
        "key",
        "killed_s",
        "pause_s",
        "phase",
        "pid",
        "reported",
        "since_pid",
        "stamp",
        "start_time",
        "wake_at",
    )

    def __init__(self, key: str, folder: str, process: Process, since_pid: int) -> None:
        self.key, self.folder = key, folder
        self.pid, self.start_time, self.stamp = process.pid, process.start_time, process.stamp
        # All that it starts gets an id after this one.
        self.since_pid = since_pid
        self.born_s = time.monotonic()
        self.began_s = round(time.clock_gettime(time.CLOCK_BOOTTIME), 6)
        self.phase = Phase.RUNNING
        self.exit: dict[str, Any] | None = None
        self.reported = False
        self.wake_at = 0.0
        self.killed_s = 0.0
        self.pause_s = 0.0


class Program:
    """What is started; ValueError where a field is missing or of a wrong type."""

    __slots__ = ("argv", "cwd", "env", "user")

    def __init__(self, body: dict[str, Any]) -> None:
        self.cwd = text_of(body, "cwd")
        self.user: str | None = None if body.get("user") is None else text_of(body, "user")
        argv, env = body.get("argv"), body.get("env")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError("argv is not a list of strings")
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            raise ValueError("env is not an object of strings")
        self.argv: list[str] = argv
        self.env: dict[str, str] = env


class Order:
    """A `spawn` as the daemon sent it; ValueError where a field is missing or of a wrong type."""

    __slots__ = ("feed", "folder", "key", "program", "reuse", "stdin")

    def __init__(self, body: dict[str, Any], prepared: Program | None) -> None:
        self.key, self.folder = text_of(body, "key"), text_of(body, "dir")
        self.stdin: str | None = None if body.get("stdin") is None else text_of(body, "stdin")
        self.reuse: str | None = None if body.get("reuse") is None else text_of(body, "reuse")
        feed = body.get("feed")
        if feed is not None and (not isinstance(feed, list) or not all(isinstance(part, str) for part in feed)):
            raise ValueError("feed is not a list of strings")
        self.feed = None if feed is None else "".join(f"{part}\0" for part in feed).encode(errors="surrogateescape")
        if "argv" in body:
            self.program = Program(body)
        elif prepared is None:
            raise ValueError("argv is missing, and nothing was prepared")
        else:
            self.program = prepared


def text_of(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is not a non-empty string")
    return value


# What the kernel knows of processes


def read_file(path: str) -> bytes:
    """The whole of a small file; b"" where it is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 65536):
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


# Starting one process


def write_record(folder: str, name: str, record: dict[str, Any]) -> None:
    """Write a JSON file; OSError where the disk does not take it whole. A reader takes half a record for none.

    A record in a folder that is used again is written over, at its full length: to truncate it would make ext4 write
    it to the disk at once (auto_da_alloc: 148 µs against 4).
    """
    text = encode(record).encode().ljust(RECORD_BYTES)
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if os.fstat(fd).st_size > len(text):
            os.ftruncate(fd, len(text))
    finally:
        os.close(fd)


def because(error: OSError | ValueError) -> str:
    return ((isinstance(error, OSError) and error.strerror) or str(error)).lower()


def take_folder(order: Order) -> bool:
    """Make the attempt's folder, or give it one that is free; whether what it is to write exists there already.

    That it did not exist is the proof that the attempt never ran.
    """
    try:
        if order.reuse is not None and adopt_folder(order.reuse, order.folder):
            return True
        os.mkdir(order.folder, 0o700)
    except FileExistsError:
        if os.path.exists(f"{order.folder}/started"):
            raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice") from None
    except OSError as error:
        raise SpawnRefused(f"cannot make the attempt's folder {order.folder}: {because(error)}") from None
    except ValueError as error:
        raise SpawnRefused(f"the attempt's folder {order.folder!r} is no path: {error}") from None
    return False


def open_output(folder: str, *, exists: bool) -> list[int]:
    """Open a folder's `stdout` and `stderr`, to append; FileExistsError where they are there but should not be."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | (0 if exists else os.O_EXCL)
    opened: list[int] = []
    try:
        for name in ("stdout", "stderr"):
            opened.append(os.open(f"{folder}/{name}", flags, 0o600))  # noqa: PERF401 - the first is closed again
    except OSError:
        if opened:
            os.unlink(f"{folder}/stdout")
        for fd in opened:
            os.close(fd)
        raise
    return opened


def feed_from_memory(feed: bytes) -> int:
    """A descriptor from which a process reads `feed`, and then its end."""
    try:
        fd = os.memfd_create("feed")
        view = memoryview(feed)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        raise SpawnRefused(f"cannot hand over what is to be done: {because(error)}") from None
    return fd


def adopt_folder(old: str, new: str) -> bool:
    """Give a folder to another attempt; False where it is gone, or the attempt has a folder with something in it.

    What the earlier attempt wrote is gone before the folder has its new name, so that it is never taken for the new
    one's. Each file is truncated through a descriptor of its own: ext4 writes a truncated file to the disk when it is
    closed next (auto_da_alloc), which costs nothing only while it is empty.
    """
    try:
        for name in ("stdout", "stderr"):
            fd = os.open(f"{old}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size:
                    os.ftruncate(fd, 0)
            finally:
                os.close(fd)
        os.rename(old, new)
    except OSError:
        return False
    return True


def open_stdin(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SpawnRefused(f"cannot read the standard input {path!r}: {because(error)}") from None


def enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except FileNotFoundError:
        raise SpawnRefused(f"the working folder {folder} does not exist") from None
    except NotADirectoryError:
        raise SpawnRefused(f"the working folder {folder} is not a folder") from None
    except PermissionError:
        raise SpawnRefused(f"the box's user may not enter the working folder {folder}") from None
    except (OSError, ValueError) as error:
        raise SpawnRefused(f"cannot enter the working folder {folder!r}: {because(error)}") from None


def start_process(program: Program, env: dict[str, str], files: dict[int, int]) -> int:
    """Start a program in the current folder as the leader of a new group; its pid. `files`: its number -> ours."""
    path = program.argv[0]
    if not path.startswith("/"):
        raise SpawnRefused(f"the program {path} is not an absolute path")
    try:
        if program.user is not None:
            import pwd

            entry = pwd.getpwnam(program.user)
            if entry.pw_uid != os.geteuid():
                return start_as(program, env, files, entry)
        return os.posix_spawn(
            path,
            program.argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in files.items()],
            setpgroup=0,
            setsigmask=(),
            setsigdef=IGNORED_SIGNALS,
        )
    except KeyError:
        raise SpawnRefused(f"the user {program.user} does not exist on this box") from None
    except FileNotFoundError:
        what = "has no interpreter" if os.path.exists(path) else "does not exist"
        raise SpawnRefused(f"the program {path} {what}") from None
    except PermissionError:
        raise SpawnRefused(f"the program {path} may not be run by {program.user or 'the box'}") from None
    except (OSError, ValueError) as error:
        raise SpawnRefused(f"cannot start the program {path!r}: {because(error)}") from None


def start_as(program: Program, env: dict[str, str], files: dict[int, int], entry: Any) -> int:
    """As `start_process`, for another user. It forks: posix_spawn cannot change the user."""
    import subprocess

    if os.geteuid() != 0:
        raise SpawnRefused(f"the box does not run as root, so it cannot run a task as {program.user}")

    def feed() -> None:
        os.dup2(files[FEED_FD], FEED_FD)

    process = subprocess.Popen(
        program.argv,
        env=env,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
        process_group=0,
        close_fds=False,
        preexec_fn=feed if FEED_FD in files else None,  # noqa: PLW1509 - this process has one thread
    )
    process.returncode = 0  # else Popen would take the exit status from the spawner when it is collected
    return process.pid


class Link:
    """The daemon's connection: what was read and is no whole line yet, and what it was too slow to take."""

    __slots__ = ("inbox", "is_slow", "outbox", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.is_slow = False


class Spawner:
    """Everything the process knows, and its loop."""

    def __init__(self, listener: socket.socket, wake_fd: int) -> None:
        self.listener = listener
        self.wake_fd = wake_fd
        self.pid = os.getpid()
        self.group = os.getpgrp()
        self.boot_id = read_boot_id()
        self.null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.epoll = select.epoll()
        self.epoll.register(listener.fileno(), select.EPOLLIN)
        self.epoll.register(wake_fd, select.EPOLLIN)
        self.link: Link | None = None
        self.attempts: dict[str, Attempt] = {}
        self.leaders: dict[int, Attempt] = {}
        self.stamps: dict[int, Attempt] = {}
        self.last_stamp = STAMP_CEILING
        self.to_settle: list[Attempt] = []
        self.search_at = 0.0
        self.hold_until = 0.0
        self.unrecorded: list[Attempt] = []
        self.record_at = 0.0
        self.stray_reaped = False
        self.program: Program | None = None
        self.pool = ""
        self.waiting: dict[int, Waiting] = {}
        self.dismissed: set[int] = set()
        self.free: list[str] = []
        self.prepared = 0
        self.prepare_at = 0.0
        self.children_fd = open_children(self.pid)
        self.gone: list[str] = []
        # Exits that a full disk did not take; they are told at each hello instead.
        self.unsaved: dict[str, Attempt] = {}
        self.retiring = False
        self.alone_since_s = time.monotonic()

    def run(self) -> None:
        """Serve until there is nothing left to do (see the top of this page)."""
        while not self.is_over():
            for fd, mask in self.epoll.poll(self.timeout_s()):
                if fd == self.wake_fd:
                    os.read(self.wake_fd, 4096)
                elif fd == self.listener.fileno():
                    self.accept()
                elif self.link is not None and fd == self.link.socket.fileno():
                    self.serve(self.link, mask)
            self.reap()
            if self.unrecorded and self.record_at <= time.monotonic():
                self.record_starts()
            self.flush()  # exits are told before the search for what they left behind
            self.settle()
            if self.gone:
                self.say({"ev": "gone", "keys": self.gone}, may_wait=True)
                self.gone = []
            self.flush()
            if self.may_prepare() and self.prepare_at <= time.monotonic():
                self.prepare()
        self.dismiss()

    def is_over(self) -> bool:
        if self.attempts:
            return False
        if self.retiring:
            return True
        waits = self.link is not None or bool(self.unsaved)
        return not waits and time.monotonic() >= self.alone_since_s + LINGER_S

    def timeout_s(self) -> float | None:
        """How long nothing can happen without a signal or a message; None: for ever."""
        wakes = [attempt.wake_at for attempt in self.attempts.values() if attempt.phase is not Phase.RUNNING]
        if self.to_settle:
            wakes.append(self.search_at)
        if self.hold_until:
            wakes.append(self.hold_until)
        if self.unrecorded:
            wakes.append(self.record_at)
        if self.may_prepare():
            wakes.append(self.prepare_at)
        if not self.attempts and self.link is None and not self.unsaved:
            wakes.append(self.alone_since_s + LINGER_S)
        return max(0.0, min(wakes) - time.monotonic()) if wakes else None

    # The daemon's side

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:  # the daemon gave up meanwhile
            return
        connection.setblocking(False)
        # Orders of the older daemon that were not read yet are dropped: the hello must be the whole truth.
        self.drop_link()
        # The folders in which they wait are free to the daemon that comes.
        self.dismiss()
        self.link = Link(connection)
        self.retiring = False
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        self.say_hello()
        for attempt in list(self.unsaved.values()):
            self.save_exit(attempt)
            self.say_exited(attempt)

    def drop_link(self) -> None:
        if self.link is not None:
            self.epoll.unregister(self.link.socket.fileno())
            self.link.socket.close()
            self.link = None
            self.hold_until = 0.0
            self.alone_since_s = time.monotonic()

    def serve(self, link: Link, mask: int) -> None:
        if mask & ~select.EPOLLOUT:
            try:
                data = link.socket.recv(READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                self.drop_link()
                return
            link.inbox += data
            end = link.inbox.rfind(b"\n") + 1
            lines = bytes(link.inbox[:end]).splitlines()
            del link.inbox[:end]
            try:
                for line in lines:
                    self.obey(json.loads(line))
            except ValueError as error:
                print(f"the daemon's connection was closed: it sent what is no order ({error})", file=sys.stderr)
                self.drop_link()

    def obey(self, body: object) -> None:
        if not isinstance(body, dict):
            raise ValueError("not an object")
        op = body.get("op")
        if op == "spawn":
            self.spawn(Order(body, self.program))
        elif op == "prepare":
            self.program, self.pool = Program(body), text_of(body, "pool")
        elif op in ("terminate", "kill"):
            attempt = self.attempts.get(text_of(body, "key"))
            grace_s = body.get("grace_s", 0.0) if op == "terminate" else 0.0
            if not isinstance(grace_s, (int, float)):
                raise ValueError("grace_s is not a number")
            if attempt is not None:  # else it has ended, and was told
                self.end(attempt, grace_s)
        elif op == "list":
            self.say_hello()
        elif op == "retire":
            self.retiring = True
        else:
            raise ValueError(f"unknown op {op!r}")

    def say(self, event: dict[str, Any], *, may_wait: bool = False) -> None:
        """Tell the daemon. What may wait a little is told with the next thing: of a short task, with its end."""
        if self.link is not None:
            if not may_wait:
                self.hold_until = 0.0
            elif not self.link.outbox:
                self.hold_until = time.monotonic() + HOLD_S
            self.link.outbox += encode(event).encode() + b"\n"

    def say_hello(self) -> None:
        running = [
            {
                "key": attempt.key,
                "pid": attempt.pid,
                "start_time": attempt.start_time,
                "began_s": attempt.began_s,
            }
            for attempt in self.attempts.values()
            if not attempt.reported
        ]
        self.say({"ev": "hello", "pid": self.pid, "boot_id": self.boot_id, "running": running})

    def say_exited(self, attempt: Attempt) -> None:
        if attempt.exit is not None:
            told = {name: attempt.exit[name] for name in ("exit_code", "signal", "usage")}
            self.say({"ev": "exited", "key": attempt.key, **told})

    def flush(self) -> None:
        link = self.link
        if link is None or not link.outbox or self.hold_until > time.monotonic():
            return
        self.hold_until = 0.0
        try:
            sent = link.socket.send(link.outbox)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.drop_link()
            return
        del link.outbox[:sent]
        if link.is_slow or link.outbox:
            link.is_slow = bool(link.outbox)
            self.epoll.modify(link.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if link.is_slow else 0))

    # The life of an attempt

    def spawn(self, order: Order) -> None:
        try:
            if self.retiring:
                raise SpawnRefused("the spawner is retiring and starts nothing more")
            if order.key in self.attempts:
                raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice")
            attempt = self.hand_over(order)
            if attempt is None:
                attempt = self.launch(order)
                if not self.unrecorded:
                    self.record_at = time.monotonic() + HOLD_S
                self.unrecorded.append(attempt)
        except SpawnRefused as refusal:
            self.say({"ev": "failed", "key": order.key, "error": str(refusal)})
            return
        self.attempts[attempt.key] = self.leaders[attempt.pid] = attempt
        if attempt.stamp:
            self.stamps[attempt.stamp] = attempt
        self.prepare_at = attempt.born_s + PREPARE_S
        started = {"pid": attempt.pid, "start_time": attempt.start_time, "began_s": attempt.began_s}
        self.say({"ev": "started", "key": attempt.key, **started}, may_wait=True)

    def record_starts(self) -> None:
        """Write the `started` records that were put off; an attempt of which nothing lives any more needs none.

        Until it is written, a spawner that is killed leaves the marker alone to find the processes by.
        """
        starts, self.unrecorded = self.unrecorded, []
        for attempt in starts:
            if self.attempts.get(attempt.key) is attempt:
                try:  # noqa: SIM105 - contextlib is more than this process needs
                    self.record_start(attempt, attempt.folder, attempt.key)
                except OSError:
                    pass  # a full disk; the marker and the stamp still find the process

    def record_start(self, process: Attempt | Process, folder: str, key: str | None) -> None:
        record = {
            "pid": process.pid,
            "start_time": process.start_time,
            "boot_id": self.boot_id,
            "stamp": process.stamp,
            "key": key,
        }
        write_record(folder, "started", record)

    def launch(self, order: Order) -> Attempt:
        """Start a process for an attempt."""
        exists = take_folder(order)
        try:
            opened = open_output(order.folder, exists=exists)
        except FileExistsError as error:
            text = f"attempt {order.key} has {error.filename} already: it is not started twice"
            raise SpawnRefused(text) from None
        except OSError as error:
            raise SpawnRefused(f"cannot create {error.filename}: {because(error)}") from None
        try:
            files = {0: self.null_fd, 1: opened[0], 2: opened[1]}
            if order.stdin is not None:
                files[0] = open_stdin(order.stdin)
                opened.append(files[0])
            if order.feed is not None:
                files[FEED_FD] = feed_from_memory(order.feed)
                opened.append(files[FEED_FD])
            process = self.start(order.program, {**order.program.env, MARKER: order.key}, files)
        except SpawnRefused:
            os.unlink(f"{order.folder}/stdout")
            os.unlink(f"{order.folder}/stderr")
            raise
        finally:
            for fd in opened:
                os.close(fd)
        return Attempt(order.key, order.folder, process, process.pid)

    def start(self, program: Program, env: dict[str, str], files: dict[int, int]) -> Process:
        enter(program.cwd)
        try:
            stamp = self.next_stamp()
            return Process(start_process(program, env, files), stamp)
        finally:
            os.chdir("/")  # so that no file system is held busy

    # Processes that wait

    def may_prepare(self) -> bool:
        if self.program is None or self.link is None or self.retiring:
            return False
        return len(self.waiting) < WAITING and len(self.leaders) <= BUSY

    def prepare(self) -> None:
        """Start a process that waits for its attempt. Where that fails, the next attempt's own start will say why."""
        program = self.program
        if program is None:
            return
        opened: list[int] = []
        try:
            folder = self.free_folder()
            opened += open_output(folder, exists=True)
            read_fd, feed_fd = os.pipe2(os.O_CLOEXEC)
            opened += (read_fd, feed_fd)
            files = {0: self.null_fd, 1: opened[0], 2: opened[1], FEED_FD: read_fd}
            # What is read into a variable of the environment stays one.
            process = self.start(program, {**program.env, MARKER: ""}, files)
            self.dismissed.add(process.pid)
            self.record_start(process, folder, None)
        except (OSError, SpawnRefused):
            self.prepare_at = time.monotonic() + LINGER_S
        else:
            self.dismissed.remove(process.pid)
            self.waiting[process.pid] = Waiting(process, folder, opened.pop())
        finally:
            for fd in opened:
                os.close(fd)

    def free_folder(self) -> str:
        """An empty folder below the pool."""
        if self.free and adopt_folder(self.free[-1], self.free[-1]):
            return self.free.pop()
        self.free.clear()
        while True:
            self.prepared += 1
            folder = f"{self.pool}/waiting-{self.pid}-{self.prepared}"
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                continue
            return folder

    def hand_over(self, order: Order) -> Attempt | None:
        """Let a process that waits do it; None where there is none, or none that can."""
        feed = order.feed
        if order.program is not self.program or feed is None or len(feed) > FEED_BYTES or order.stdin is not None:
            return None
        while self.waiting:
            pid, waiting = self.waiting.popitem()
            try:
                os.rename(waiting.folder, order.folder)
            except (OSError, ValueError):  # what is in the way is found out by `launch`
                self.waiting[pid] = waiting
                return None
            since_pid = newest_pid()
            try:
                os.write(waiting.feed_fd, feed)
            except BrokenPipeError:  # somebody ended it, so nothing of this was done; its folder serves the next
                os.rename(order.folder, waiting.folder)
                self.free.append(waiting.folder)
                continue
            finally:
                os.close(waiting.feed_fd)
            if order.reuse is not None:
                self.free.append(order.reuse)
            return Attempt(order.key, order.folder, waiting.process, since_pid)
        return None

    def dismiss(self) -> None:
        """Let those that wait go: their input ends, and so do they."""
        for waiting in self.waiting.values():
            os.close(waiting.feed_fd)
        self.dismissed.update(self.waiting)
        self.waiting.clear()
        self.free.clear()
        self.program = None

    def next_stamp(self) -> int:
        """Set our own limit, which the next child inherits; 0 where the limit is fixed already.

        An unprivileged process can only lower it, so stamps fall; by the clock, so that no two spawners of one boot
        give the same.
        """
        stamp = min(self.last_stamp - 1, STAMP_CEILING - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
        try:
            resource.setrlimit(RLIMIT_LOCKS, (stamp, stamp))
        except (OSError, ValueError):
            return 0
        self.last_stamp = stamp
        return stamp

    def reap(self) -> None:
        """Take every child that has ended: leaders, and what their trees left to the subreaper."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt = self.leaders.pop(pid, None)
            if attempt is None:
                if waiting := self.waiting.pop(pid, None):
                    os.close(waiting.feed_fd)
                elif pid in self.dismissed:
                    self.dismissed.remove(pid)
                else:
                    self.stray_reaped = True
                continue
            attempt.exit = {
                "key": attempt.key,
                "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                "boot_id": self.boot_id,
                "ended_at": round(time.time(), 3),
                "usage": {
                    "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1000),
                    "max_rss_kb": usage.ru_maxrss,
                },
            }
            if attempt.phase is Phase.RUNNING:
                self.report(attempt)
            if not self.to_settle:
                self.search_at = time.monotonic() + SEARCH_S
            self.to_settle.append(attempt)

    def report(self, attempt: Attempt) -> None:
        attempt.reported = True
        self.save_exit(attempt)
        self.say_exited(attempt)

    def save_exit(self, attempt: Attempt) -> None:
        try:
            write_record(attempt.folder, "exit", attempt.exit or {})
            self.unsaved.pop(attempt.key, None)
        except FileNotFoundError:
            self.unsaved.pop(attempt.key, None)  # the daemon removed the folder: it wants no record
        except OSError:
            self.unsaved[attempt.key] = attempt

    def settle(self) -> None:
        """Look after the trees whose leader ended, whose grace is over, or that may be gone now."""
        if len(self.attempts) > len(self.leaders) and not self.has_strays():
            for attempt in [each for each in self.attempts.values() if each.exit is not None]:
                self.forget(attempt)
            self.to_settle.clear()
        now = time.monotonic()
        due: list[Attempt] = []
        is_urgent = any(attempt.phase is not Phase.RUNNING for attempt in self.to_settle)
        if self.to_settle and (is_urgent or now >= self.search_at):
            due, self.to_settle = self.to_settle, []
        for attempt in self.attempts.values():
            if attempt.phase is Phase.RUNNING or attempt in due:
                continue
            if now >= attempt.wake_at or (self.stray_reaped and attempt.exit is not None):
                due.append(attempt)
        self.stray_reaped = False
        living = self.survived([attempt for attempt in due if attempt.exit is not None])
        for attempt in due:
            if attempt.exit is not None and attempt.key not in living:
                self.forget(attempt)
            elif attempt.phase is Phase.RUNNING:
                self.end(attempt, LEFTOVER_GRACE_S)
            elif now >= attempt.wake_at:
                self.kill(attempt)
            late = attempt.phase is Phase.KILLING and now - attempt.killed_s > KILL_LIMIT_S
            if late and attempt.exit is not None and not attempt.reported:
                self.report(attempt)

    def has_strays(self) -> bool:
        """Whether we have a child that neither leads an attempt nor waits for one.

        All that outlives its parent becomes our child: without strays nothing lives of a tree whose leader ended.
        None of our children leaves the list before it is reaped, which is not done meanwhile (proc(5) warns of that).
        """
        if self.children_fd < 0:
            return True
        known = self.known()
        children = os.pread(self.children_fd, READ_BYTES, 0)
        return len(children) == READ_BYTES or any(int(pid) not in known for pid in children.split())

    def known(self) -> set[int]:
        """Our children that are no stray."""
        return {*self.leaders, *self.waiting, *self.dismissed}

    def forget(self, attempt: Attempt) -> None:
        if not attempt.reported:
            self.report(attempt)
        del self.attempts[attempt.key]
        self.stamps.pop(attempt.stamp, None)
        self.gone.append(attempt.key)
        self.alone_since_s = time.monotonic()

    def end(self, attempt: Attempt, grace_s: float) -> None:
        """SIGTERM to the whole tree now, SIGKILL after `grace_s`; a later, shorter grace wins."""
        if attempt.phase is Phase.KILLING:
            return
        if grace_s <= 0:
            self.kill(attempt)
            return
        wake_at = time.monotonic() + grace_s
        attempt.wake_at = wake_at if attempt.phase is Phase.RUNNING else min(wake_at, attempt.wake_at)
        attempt.phase = Phase.TERMINATING
        for pid in self.tree(attempt):
            send_signal(os.kill, pid, signal.SIGTERM)
            send_signal(os.kill, pid, signal.SIGCONT)  # a stopped process acts on SIGTERM only when it goes on

    def kill(self, attempt: Attempt) -> None:
        """SIGKILL to the whole tree, and again to what it forked meanwhile."""
        if attempt.phase is not Phase.KILLING:
            attempt.phase, attempt.killed_s, attempt.pause_s = Phase.KILLING, time.monotonic(), 0.002
        killed: set[int] = set()
        for _ in range(SWEEPS):
            tree = self.tree(attempt)
            if not tree.keys() - killed:
                break
            # A whole group is killed at one blow, even one that forks; but never ours or another attempt's, which a
            # process of this one may have joined.
            others = {each.pid for each in self.attempts.values() if each is not attempt}
            for group in {stat.group for stat in tree.values()} - others - {self.group}:
                send_signal(os.killpg, group, signal.SIGKILL)
            for pid in tree:
                send_signal(os.kill, pid, signal.SIGKILL)
            killed |= tree.keys()
        attempt.wake_at = time.monotonic() + attempt.pause_s
        attempt.pause_s = min(1.0, attempt.pause_s * 2)

    def search(self, attempts: list[Attempt]) -> dict[int, Stat]:
        """All processes that may belong to one of `attempts`, but leaders.

        Cheap just after short tasks: nothing of theirs can be older than their leaders, so only the few ids given
        since are looked at.
        """
        oldest = min(attempts, key=lambda attempt: attempt.born_s)
        young = time.monotonic() - oldest.born_s < CYCLE_S
        return scan(oldest.since_pid if young else None, self.known())

    def survived(self, ended: list[Attempt]) -> set[str]:
        """The keys of those of `ended`, whose leaders are gone, of which something lives. One search serves all."""
        if not ended:
            return set()
        found = self.search(ended)
        owners = [self.owner(pid, stat) for pid, stat in found.items() if stat.parent == self.pid]
        return {owner.key for owner in owners if owner is not None}

    def tree(self, attempt: Attempt) -> dict[int, Stat]:
        """The living processes of an attempt, zombies included."""
        found = self.search([attempt])
        tops = [pid for pid, stat in found.items() if stat.parent == self.pid and self.owner(pid, stat) is attempt]
        if attempt.exit is None and (leader := read_stat(attempt.pid)):
            found[attempt.pid] = leader
            tops.append(attempt.pid)
        return {pid: found[pid] for pid in descendants(found, tops)}

    def owner(self, pid: int, stat: Stat) -> Attempt | None:
        """Whose a child of ours is that leads no attempt."""
        if attempt := self.stamps.get(read_stamp(pid)):
            return attempt
        if attempt := self.attempts.get(read_marker(pid) or ""):
            return attempt
        # Without both marks only its age is left: it is younger than its leader. Where several are older, it is
        # ended with the last of them that runs.
        born = (stat.start_time, pid)  # the ids tell apart what began in one tick, 10 ms
        older = [each for each in self.attempts.values() if (each.start_time, each.pid) < born]
        if len(older) == 1 or (older and all(each.exit is not None for each in older)):
            return older[-1]
        return None


def become_detached() -> None:
    """Leave the daemon's session and family: its end, its terminal and its waiting are none of ours."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the child subreaper")


def take_lock(path: str) -> None:
    """Hold the folder for the life of this process; an older spawner that is just ending is waited for."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(fd, 32, 0).decode().strip()
                raise SystemExit(f"another spawner (process {holder}) serves this folder") from None
            time.sleep(0.01)
        else:
            os.truncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            return


def listen(path: str) -> socket.socket:
    if os.path.lexists(path):
        os.unlink(path)  # of a spawner that was killed: we hold the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(8)
    return listener


def watch_signals() -> int:
    """Make SIGCHLD readable. What is to be ignored gets a handler, since SIG_IGN would pass to tasks through exec."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *IGNORED_SIGNALS}:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def main(arguments: list[str]) -> None:
    if len(arguments) != 2 or arguments[0] != "--folder":
        raise SystemExit("usage: spawner.py --folder DIR")
    # What the daemon was given open by whoever started it is none of the tasks'.
    os.closerange(3, LOADAVG_FD)
    os.closerange(LOADAVG_FD + 1, HIGHEST_FD)
    os.chdir(arguments[1])  # a relative address: a Unix socket's path may have only 107 bytes
    become_detached()
    take_lock(LOCK_NAME)
    wake_fd = watch_signals()
    listener = listen(SOCKET_NAME)
    folder_fd = os.open(".", os.O_PATH | os.O_CLOEXEC)
    os.chdir("/")
    os.write(1, b"ready\n")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
    Spawner(listener, wake_fd).run()
    os.unlink(SOCKET_NAME, dir_fd=folder_fd)


if __name__ == "__main__":
    main(sys.argv[1:])

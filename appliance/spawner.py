"""The process that starts tasks, waits on them and ends their trees; it outlives the daemon.

Run as `python -I -S spawner.py --folder DIR`. It imports nothing of Operis and little of the standard library, so that
it stays small: `posix_spawn` from a small process is the quickest way to start one. It has one thread.

Protocol: JSON lines on the Unix socket DIR/spawner.sock. One daemon is served at a time, the newest wins. In:
`spawn`, `terminate`, `kill`, `list`, `retire` (field `op`); out: `hello`, `started`, `failed`, `exited`, and `gone`
when nothing of an attempt lives any more (field `ev`). What an attempt leaves in its folder: `stdout` and `stderr`,
which the process writes itself; `started`; `exit`, written before `exited` is said. They are not fsynced, so they
count only in the boot and for the attempt that they name. `spawn` may name a folder of an attempt that is gone
(`reuse`): it is renamed, which costs a journaling file system less than making one and removing it.

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


class Attempt:
    """One run of one task: its leader process, and how far its end has come."""

    __slots__ = (
        "born_s",
        "exit",
        "folder",
        "key",
        "killed_s",
        "pause_s",
        "phase",
        "pid",
        "reported",
        "stamp",
        "start_time",
        "wake_at",
    )

    def __init__(self, key: str, folder: str, pid: int, start_time: int, stamp: int) -> None:
        self.key, self.folder, self.pid, self.start_time, self.stamp = key, folder, pid, start_time, stamp
        self.born_s = time.monotonic()
        self.phase = Phase.RUNNING
        self.exit: dict[str, Any] | None = None
        self.reported = False
        self.wake_at = 0.0
        self.killed_s = 0.0
        self.pause_s = 0.0


class Order:
    """A `spawn` as the daemon sent it; ValueError where a field is missing or of a wrong type."""

    __slots__ = ("argv", "cwd", "env", "folder", "key", "reuse", "stdin", "user")

    def __init__(self, body: dict[str, Any]) -> None:
        self.key, self.folder, self.cwd = text_of(body, "key"), text_of(body, "dir"), text_of(body, "cwd")
        self.stdin: str | None = None if body.get("stdin") is None else text_of(body, "stdin")
        self.user: str | None = None if body.get("user") is None else text_of(body, "user")
        self.reuse: str | None = None if body.get("reuse") is None else text_of(body, "reuse")
        argv, env = body.get("argv"), body.get("env")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError("argv is not a list of strings")
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            raise ValueError("env is not an object of strings")
        self.argv: list[str] = argv
        self.env: dict[str, str] = {**env, MARKER: self.key}


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


def newest_pid() -> int:
    """The process or thread id that the kernel gave last."""
    return int(read_file("/proc/loadavg").rsplit(None, 1)[1])


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


def open_output(order: Order) -> list[int]:
    """Create the attempt's `stdout` and `stderr`. That they did not exist is the proof that it never ran."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        if order.reuse is not None and adopt_folder(order.reuse, order.folder):
            flags &= ~os.O_EXCL
        else:
            os.mkdir(order.folder, 0o700)
    except FileExistsError:
        if os.path.exists(f"{order.folder}/started"):
            raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice") from None
    except OSError as error:
        raise SpawnRefused(f"cannot make the attempt's folder {order.folder}: {because(error)}") from None
    opened: list[int] = []
    for name in ("stdout", "stderr"):
        path = f"{order.folder}/{name}"
        try:
            opened.append(os.open(path, flags, 0o600))
        except OSError as error:
            if opened:
                os.unlink(f"{order.folder}/stdout")
            for fd in opened:
                os.close(fd)
            if isinstance(error, FileExistsError):
                raise SpawnRefused(f"attempt {order.key} has {path} already: it is not started twice") from None
            raise SpawnRefused(f"cannot create {path}: {because(error)}") from None
    return opened


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


def start_process(order: Order, files: list[int]) -> int:
    """Start `order.argv` in the current folder on the three `files`, as the leader of a new group; its pid."""
    program = order.argv[0]
    if not program.startswith("/"):
        raise SpawnRefused(f"the program {program} is not an absolute path")
    try:
        if order.user is not None:
            import pwd

            entry = pwd.getpwnam(order.user)
            if entry.pw_uid != os.geteuid():
                return start_as(order, files, entry)
        return os.posix_spawn(
            program,
            order.argv,
            order.env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=IGNORED_SIGNALS,
        )
    except KeyError:
        raise SpawnRefused(f"the user {order.user} does not exist on this box") from None
    except FileNotFoundError:
        what = "has no interpreter" if os.path.exists(program) else "does not exist"
        raise SpawnRefused(f"the program {program} {what}") from None
    except PermissionError:
        raise SpawnRefused(f"the program {program} may not be run by {order.user or 'the box'}") from None
    except (OSError, ValueError) as error:
        raise SpawnRefused(f"cannot start the program {program!r}: {because(error)}") from None


def start_as(order: Order, files: list[int], entry: Any) -> int:
    """As `start_process`, for another user. It forks: posix_spawn cannot change the user."""
    import subprocess

    if os.geteuid() != 0:
        raise SpawnRefused(f"the box does not run as root, so it cannot run a task as {order.user}")
    process = subprocess.Popen(
        order.argv,
        env=order.env,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid),
        process_group=0,
        close_fds=False,
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
        self.childless = True
        self.stray_reaped = False
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
            self.spawn(Order(body))
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
            {"key": attempt.key, "pid": attempt.pid, "start_time": attempt.start_time}
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
            attempt = self.launch(order)
        except SpawnRefused as refusal:
            self.say({"ev": "failed", "key": order.key, "error": str(refusal)})
            return
        self.attempts[attempt.key] = self.leaders[attempt.pid] = attempt
        if attempt.stamp:
            self.stamps[attempt.stamp] = attempt
        started = {"pid": attempt.pid, "start_time": attempt.start_time}
        if not self.unrecorded:
            self.record_at = time.monotonic() + HOLD_S
        self.unrecorded.append(attempt)
        self.say({"ev": "started", "key": attempt.key, **started}, may_wait=True)

    def record_starts(self) -> None:
        """Write the `started` records that were put off; an attempt of which nothing lives any more needs none.

        Until it is written, a spawner that is killed leaves the marker alone to find the processes by.
        """
        starts, self.unrecorded = self.unrecorded, []
        for attempt in starts:
            if self.attempts.get(attempt.key) is not attempt:
                continue
            record = {
                "pid": attempt.pid,
                "start_time": attempt.start_time,
                "boot_id": self.boot_id,
                "stamp": attempt.stamp,
                "key": attempt.key,
            }
            try:  # noqa: SIM105 - contextlib is more than this process needs
                write_record(attempt.folder, "started", record)
            except OSError:
                pass  # a full disk; the marker and the stamp still find the process

    def launch(self, order: Order) -> Attempt:
        if self.retiring:
            raise SpawnRefused("the spawner is retiring and starts nothing more")
        if order.key in self.attempts:
            raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice")
        try:
            opened = open_output(order)
        except ValueError as error:
            raise SpawnRefused(f"the attempt's folder {order.folder!r} is no path: {error}") from None
        files = [self.null_fd, *opened]
        try:
            if order.stdin is not None:
                files[0] = open_stdin(order.stdin)
                opened.append(files[0])
            enter(order.cwd)
            try:
                stamp = self.next_stamp()
                pid = start_process(order, files)
            finally:
                os.chdir("/")  # so that no file system is held busy
        except SpawnRefused:
            os.unlink(f"{order.folder}/stdout")
            os.unlink(f"{order.folder}/stderr")
            raise
        finally:
            for fd in opened:
                os.close(fd)
        stat = read_stat(pid)
        return Attempt(order.key, order.folder, pid, stat.start_time if stat else 0, stamp)

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
                self.childless = True
                return
            if pid == 0:
                self.childless = False
                return
            attempt = self.leaders.pop(pid, None)
            if attempt is None:
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
        if self.childless:  # all that outlives its parent is our child: of no tree does anything live
            for attempt in [each for each in self.attempts.values() if each.exit is not None]:
                self.forget(attempt)
            self.to_settle.clear()
            return
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
        return scan(oldest.pid if young else None, self.leaders)

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

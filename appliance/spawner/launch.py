"""Starting one process: its folder, its files, its stamp, and the call itself."""

from __future__ import annotations

import os
import resource
import signal
import time

from appliance.spawner.order import Order, Program, SpawnRefused, because
from appliance.spawner.records import Process

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from typing import Any

FEED_FD = 9
RLIMIT_LOCKS = 10  # <asm-generic/resource.h>; the `resource` module has no name for it
STAMP_CEILING = 1 << 62
# Python ignores SIGPIPE and SIGXFSZ, a shell that started the daemon may have ignored more: no task inherits that.
IGNORED_SIGNALS = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]


class Launcher:
    """Starts processes, each with a stamp of its own."""

    def __init__(self) -> None:
        self.null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.last_stamp = STAMP_CEILING

    def start(self, program: Program, env: dict[str, str], files: dict[int, int]) -> Process:
        enter(program.cwd)
        try:
            stamp = self.next_stamp()
            return Process(start_process(program, env, files), stamp)
        finally:
            os.chdir("/")  # so that no file system is held busy

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


def take_folder(order: Order) -> list[int]:
    """Make the attempt's folder, or give it one that is free; its `stdout` and `stderr`, opened to append.

    That they did not exist is the proof that the attempt never ran.
    """
    try:
        if order.reuse is not None and (opened := adopt_folder(order.reuse, order.folder)):
            return opened
        os.mkdir(order.folder, 0o700)
    except FileExistsError:
        if os.path.exists(f"{order.folder}/started"):
            raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice") from None
    except OSError as error:
        raise SpawnRefused(f"cannot make the attempt's folder {order.folder}: {because(error)}") from None
    except ValueError as error:
        raise SpawnRefused(f"the attempt's folder {order.folder!r} is no path: {error}") from None
    try:
        return open_output(order.folder)
    except FileExistsError as error:
        text = f"attempt {order.key} has {error.filename} already: it is not started twice"
        raise SpawnRefused(text) from None
    except OSError as error:
        raise SpawnRefused(f"cannot create {error.filename}: {because(error)}") from None


def adopt_folder(old: str, new: str) -> list[int]:
    """Give a folder to another attempt; its outputs. [] where it is gone, or the attempt has a folder with something.

    What the earlier attempt wrote is gone before the folder has its new name, so that it is never taken for the new
    one's. A file is truncated through a descriptor of its own: ext4 writes a truncated file to the disk when it is
    closed next (auto_da_alloc), which costs nothing only while it is empty.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    opened: list[int] = []
    try:
        for name in ("stdout", "stderr"):
            path = f"{old}/{name}"
            fd = os.open(path, flags)
            opened.append(fd)
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)
                os.close(opened.pop())
                opened.append(os.open(path, flags))
        if new != old:
            os.rename(old, new)
    except OSError:
        for fd in opened:
            os.close(fd)
        return []
    return opened


def open_output(folder: str) -> list[int]:
    """Create a folder's `stdout` and `stderr`, opened to append; OSError, and none of them, where that fails."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
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


def open_stdin(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SpawnRefused(f"cannot read the standard input {path!r}: {because(error)}") from None


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

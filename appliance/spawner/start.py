"""Becoming the spawner of a folder: its lock, its socket, and leaving the daemon's family."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import time

from appliance.spawner.kernel import LOADAVG_FD
from appliance.spawner.launch import IGNORED_SIGNALS
from appliance.spawner.records import LOCK_NAME, SOCKET_NAME
from appliance.spawner.service import Service

LOCK_LIMIT_S = 1.0
PR_SET_CHILD_SUBREAPER = 36
# Linux gives no descriptor above it unless an administrator raised fs.nr_open.
HIGHEST_FD = 1024 * 1024


def serve(folder: str) -> None:
    """Serve a folder until there is nothing left to do; SystemExit says why it cannot be served."""
    # What the daemon was given open by whoever started it is none of the tasks'.
    os.closerange(3, LOADAVG_FD)
    os.closerange(LOADAVG_FD + 1, HIGHEST_FD)
    os.chdir(folder)  # a relative address: a Unix socket's path may have only 107 bytes
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
    Service(listener, wake_fd).run()
    os.unlink(SOCKET_NAME, dir_fd=folder_fd)


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

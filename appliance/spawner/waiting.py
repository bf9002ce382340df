"""Processes that are started ahead of time and wait, each for one attempt.

A program that reads what to do from descriptor 9 can be started, set up and recorded before there is anything to do.
Handed over, the folder in which it waits gets the attempt's name, then it is fed. Its record names no attempt: the
name of the folder does, from the moment it is renamed. One that is never fed reads the end of its input and ends.
"""

from __future__ import annotations

import os
import time

from appliance.spawner.attempt import Attempt
from appliance.spawner.kernel import MARKER, newest_pid
from appliance.spawner.launch import FEED_FD, Launcher, adopt_folder, open_output
from appliance.spawner.order import Order, Program, SpawnRefused
from appliance.spawner.records import Process, record_start

# One serves tasks that come one after another, the second a pair.
WAITING = 2
# While nothing runs the next is started at once; else after this long, when what runs is no short task.
PREPARE_S = 0.002
# Where one could not be started.
RETRY_S = 30.0
# What a pipe takes at once (pipe(7), PIPE_BUF); what is longer is fed from a file in memory.
FEED_BYTES = 4096


class Waiting:
    """A process that waits, its folder, and the pipe by which it hears what to do."""

    __slots__ = ("feed_fd", "folder", "process")

    def __init__(self, process: Process, folder: str, feed_fd: int) -> None:
        self.process, self.folder, self.feed_fd = process, folder, feed_fd


class WaitingRoom:
    """The processes that wait. `bystanders` are the ids of our children that are of no attempt."""

    def __init__(self, launcher: Launcher, bystanders: set[int], boot_id: str) -> None:
        self.launcher = launcher
        self.bystanders = bystanders
        self.boot_id = boot_id
        self.program: Program | None = None
        self.pool = ""
        self.waiting: dict[int, Waiting] = {}
        self.free: list[str] = []
        self.prepared = 0
        self.retry_at = 0.0

    def open(self, program: Program, pool: str) -> None:
        """Prepare processes of `program`, in folders below `pool`."""
        self.dismiss()
        self.program, self.pool, self.retry_at = program, pool, 0.0

    def has_place(self) -> bool:
        """Whether one more should be prepared."""
        return self.program is not None and len(self.waiting) < WAITING

    def prepare(self) -> None:
        """Start a process that waits for its attempt. Where that fails, the next attempt's own start will say why."""
        program = self.program
        if program is None:
            return
        opened: list[int] = []
        try:
            folder, opened = self.free_folder()
            read_fd, feed_fd = os.pipe2(os.O_CLOEXEC)
            opened += (read_fd, feed_fd)
            files = {0: self.launcher.null_fd, 1: opened[0], 2: opened[1], FEED_FD: read_fd}
            # What is read into a variable of the environment stays one.
            process = self.launcher.start(program, {**program.env, MARKER: ""}, files)
            self.bystanders.add(process.pid)
            record_start(folder, process, None, self.boot_id)
        except (OSError, SpawnRefused):
            self.retry_at = time.monotonic() + RETRY_S
        else:
            self.waiting[process.pid] = Waiting(process, folder, opened.pop())
        finally:
            for fd in opened:
                os.close(fd)

    def free_folder(self) -> tuple[str, list[int]]:
        """A folder below the pool and its outputs, which are empty."""
        while self.free:
            folder = self.free.pop()
            if opened := adopt_folder(folder, folder):
                return folder, opened
        while True:
            self.prepared += 1
            folder = f"{self.pool}/waiting-{os.getpid()}-{self.prepared}"
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                continue
            return folder, open_output(folder)

    def hand_over(self, order: Order) -> Attempt | None:
        """Let a process that waits do it; None where there is none, or none that can."""
        feed = order.feed
        if order.program is not self.program or feed is None or len(feed) > FEED_BYTES or order.stdin is not None:
            return None
        while self.waiting:
            # The oldest: the newest may not have started whole yet.
            pid, waiting = next(iter(self.waiting.items()))
            try:
                os.rename(waiting.folder, order.folder)
            except (OSError, ValueError):  # what is in the way is found out by `launch`
                return None
            del self.waiting[pid]
            since_pid = newest_pid()
            try:
                os.write(waiting.feed_fd, feed)
            except BrokenPipeError:  # somebody ended it, so nothing of this was done; its folder serves the next
                os.rename(order.folder, waiting.folder)
                self.free.append(waiting.folder)
                continue
            finally:
                os.close(waiting.feed_fd)
            self.bystanders.remove(pid)
            if order.reuse is not None:
                self.free.append(order.reuse)
            return Attempt(order.key, order.folder, waiting.process, since_pid)
        return None

    def dismiss(self) -> None:
        """Let those that wait go: their input ends, and so do they."""
        for waiting in self.waiting.values():
            os.close(waiting.feed_fd)
        self.waiting.clear()
        self.free.clear()
        self.program = None

    def reaped(self, pid: int) -> bool:
        """Note that a child has ended; whether it was one of ours."""
        if waiting := self.waiting.pop(pid, None):
            os.close(waiting.feed_fd)
        if pid not in self.bystanders:
            return False
        self.bystanders.remove(pid)
        return True

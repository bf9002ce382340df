"""The spawner at work: its loop, its one daemon, and the life of each attempt.

It imports nothing of Operis but this package, and little of the standard library, so that it stays small:
`posix_spawn` from a small process is the quickest way to start one. It has one thread.

Protocol: JSON lines on the Unix socket DIR/spawner.sock. One daemon is served at a time, the newest wins. In:
`prepare`, `spawn`, `terminate`, `kill`, `list`, `retire` (field `op`); out: `hello`, `started`, `failed`, `exited`
(with what `started` says, where that was not said) and `gone` when nothing of an attempt lives any more (field `ev`).
What an attempt leaves in its folder: `stdout` and `stderr`, which the process writes itself; `started`; `exit`, written
before `exited` is said. They are not fsynced, so they count only in the boot and for the attempt that they name.
`spawn` may name a folder of an attempt that is gone (`reuse`): it is renamed, which costs a journaling file system less
than making one and removing it.

A program may read what to do from descriptor 9, each part ended by a NUL (`feed`). After `prepare` a few processes of
the usual program wait for theirs (`waiting`); to whom a process belongs is in `trees`.

SIGTERM, SIGINT and SIGHUP are ignored: only `retire`, or 30 s with neither daemon nor task, ends the spawner.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

from appliance.spawner.attempt import Attempt, Phase
from appliance.spawner.kernel import MARKER, READ_BYTES, read_boot_id
from appliance.spawner.launch import FEED_FD, Launcher, feed_from_memory, open_stdin, take_folder
from appliance.spawner.order import Order, Program, SpawnRefused, text_of
from appliance.spawner.records import encode, record_start, write_record
from appliance.spawner.trees import Trees
from appliance.spawner.waiting import PREPARE_S, WaitingRoom

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from typing import Any

# Long enough to flush a file, short enough that what a task left behind is not mistaken for a service.
LEFTOVER_GRACE_S = 1.0
# A process in uninterruptible sleep ignores SIGKILL; the outcome of a task does not wait for it any longer than this.
KILL_LIMIT_S = 10.0
# With more than this many attempts running none is prepared: the processors have enough to do.
BUSY = 2
# A start that is an end a moment later is neither recorded nor worth a wake-up of the daemon.
HOLD_S = 0.002
# What short tasks left behind is looked for together, this often: a search costs as much as half a task.
SEARCH_S = 0.02
LINGER_S = 30.0


class Link:
    """The daemon's connection: what was read and is no whole line yet, and what it was too slow to take."""

    __slots__ = ("inbox", "is_slow", "outbox", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.is_slow = False


class Service:
    """Everything the process knows, and its loop."""

    def __init__(self, listener: socket.socket, wake_fd: int) -> None:
        self.listener = listener
        self.wake_fd = wake_fd
        self.boot_id = read_boot_id()
        self.epoll = select.epoll()
        self.epoll.register(listener.fileno(), select.EPOLLIN)
        self.epoll.register(wake_fd, select.EPOLLIN)
        self.link: Link | None = None
        self.launcher = Launcher()
        self.trees = Trees()
        self.attempts = self.trees.attempts
        self.room = WaitingRoom(self.launcher, self.trees.bystanders, self.boot_id)
        self.quiet_at = 0.0
        self.to_settle: list[Attempt] = []
        self.search_at = 0.0
        self.hold_until = 0.0
        self.unrecorded: list[Attempt] = []
        self.record_at = 0.0
        self.stray_reaped = False
        self.gone: list[str] = []
        self.untold: list[Attempt] = []
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
            if self.link is not None and self.link.outbox:
                self.flush()  # ends are told before the search for what they left behind
            self.settle()
            if self.unrecorded and self.record_at <= time.monotonic():
                self.record_starts()
            self.flush()
            if self.may_prepare() and self.prepare_at() <= time.monotonic():
                self.room.prepare()
        self.room.dismiss()

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
            wakes.append(self.prepare_at())
        if not self.attempts and self.link is None and not self.unsaved:
            wakes.append(self.alone_since_s + LINGER_S)
        return max(0.0, min(wakes) - time.monotonic()) if wakes else None

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:  # the daemon gave up meanwhile
            return
        connection.setblocking(False)
        # Orders of the older daemon that were not read yet are dropped: the hello must be the whole truth.
        self.drop_link()
        # The folders in which they wait are free to the daemon that comes.
        self.room.dismiss()
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
            self.untold.clear()
            self.gone.clear()
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
            self.spawn(Order(body, self.room.program))
        elif op == "prepare":
            self.room.open(Program(body), text_of(body, "pool"))
        elif op in ("terminate", "kill"):
            attempt = self.attempts.get(text_of(body, "key"))
            grace_s = body.get("grace_s", 0.0) if op == "terminate" else 0.0
            if not isinstance(grace_s, (int, float)):
                raise ValueError("grace_s is not a number")
            if attempt is not None:  # else it has ended, and was told
                self.trees.end(attempt, grace_s)
        elif op == "list":
            self.say_hello()
        elif op == "retire":
            self.retiring = True
        else:
            raise ValueError(f"unknown op {op!r}")

    def say(self, event: dict[str, Any]) -> None:
        if self.link is not None:
            self.link.outbox += encode(event).encode() + b"\n"

    def say_hello(self) -> None:
        running = []
        for attempt in self.attempts.values():
            attempt.told = True
            if not attempt.reported:
                running.append(self.begun(attempt))
        self.untold.clear()
        self.say({"ev": "hello", "pid": self.trees.pid, "boot_id": self.boot_id, "running": running})

    def say_started(self) -> None:
        for attempt in self.untold:
            if not attempt.told:
                attempt.told = True
                self.say({"ev": "started", **self.begun(attempt)})
        self.untold.clear()

    def say_exited(self, attempt: Attempt) -> None:
        """Tell an end; with it the start, where that was not told yet."""
        if attempt.exit is not None:
            told = {name: attempt.exit[name] for name in ("exit_code", "signal", "usage")}
            begun = {"key": attempt.key} if attempt.told else self.begun(attempt)
            attempt.told = True
            self.say({"ev": "exited", **begun, **told})

    def begun(self, attempt: Attempt) -> dict[str, Any]:
        if attempt.exit is None:
            attempt.process.identify()
        start_time = attempt.process.start_time
        return {"key": attempt.key, "pid": attempt.pid, "start_time": start_time, "began_s": attempt.began_s}

    def flush(self) -> None:
        """Send what is to be told now, and with it, or when its time has come, what may wait."""
        link = self.link
        if link is None or (not link.outbox and (not self.hold_until or self.hold_until > time.monotonic())):
            return
        self.hold_until = 0.0
        self.say_started()
        if self.gone:
            self.say({"ev": "gone", "keys": self.gone})
            self.gone = []
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

    def spawn(self, order: Order) -> None:
        try:
            if self.retiring:
                raise SpawnRefused("the spawner is retiring and starts nothing more")
            if order.key in self.attempts:
                raise SpawnRefused(f"attempt {order.key} was started before: it is not started twice")
            attempt = self.room.hand_over(order)
            if attempt is None:
                attempt = self.launch(order)
                if not self.unrecorded:
                    self.record_at = time.monotonic() + HOLD_S
                self.unrecorded.append(attempt)
        except SpawnRefused as refusal:
            self.say_started()  # perhaps of the same attempt
            self.say({"ev": "failed", "key": order.key, "error": str(refusal)})
            return
        self.trees.add(attempt)
        self.quiet_at = attempt.born_s + PREPARE_S
        self.untold.append(attempt)
        self.hold()

    def hold(self) -> None:
        """What was noted may wait a little, for the next thing that is told: of a short task, for its end."""
        if not self.hold_until:
            self.hold_until = time.monotonic() + HOLD_S

    def record_starts(self) -> None:
        """Write the `started` records that were put off; an attempt of which nothing lives any more needs none.

        Until it is written, a spawner that is killed leaves the marker alone to find the processes by.
        """
        starts, self.unrecorded = self.unrecorded, []
        for attempt in starts:
            if self.attempts.get(attempt.key) is attempt:
                try:  # noqa: SIM105 - contextlib is more than this process needs
                    record_start(attempt.folder, attempt.process, attempt.key, self.boot_id)
                except OSError:
                    pass  # a full disk; the marker and the stamp still find the process

    def may_prepare(self) -> bool:
        is_served = self.link is not None and not self.retiring
        return is_served and len(self.trees.leaders) <= BUSY and self.room.has_place()

    def prepare_at(self) -> float:
        """When the next process that waits is started: while nothing runs, or after what runs has lasted a while."""
        return max(self.room.retry_at, self.quiet_at if self.trees.leaders else 0.0)

    def launch(self, order: Order) -> Attempt:
        """Start a process for an attempt."""
        opened = take_folder(order)
        try:
            files = {0: self.launcher.null_fd, 1: opened[0], 2: opened[1]}
            if order.stdin is not None:
                files[0] = open_stdin(order.stdin)
                opened.append(files[0])
            if order.feed is not None:
                files[FEED_FD] = feed_from_memory(order.feed)
                opened.append(files[FEED_FD])
            process = self.launcher.start(order.program, {**order.program.env, MARKER: order.key}, files)
        except SpawnRefused:
            os.unlink(f"{order.folder}/stdout")
            os.unlink(f"{order.folder}/stderr")
            raise
        finally:
            for fd in opened:
                os.close(fd)
        return Attempt(order.key, order.folder, process, process.pid)

    def reap(self) -> None:
        """Take every child that has ended: leaders, and what their trees left to the subreaper."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt = self.trees.leaders.pop(pid, None)
            if attempt is None:
                self.stray_reaped |= not self.room.reaped(pid)
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
        if len(self.attempts) > len(self.trees.leaders) and not self.trees.has_strays():
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
        living = self.trees.survived([attempt for attempt in due if attempt.exit is not None])
        for attempt in due:
            if attempt.exit is not None and attempt.key not in living:
                self.forget(attempt)
            elif attempt.phase is Phase.RUNNING:
                self.trees.end(attempt, LEFTOVER_GRACE_S)
            elif now >= attempt.wake_at:
                self.trees.kill(attempt)
            late = attempt.phase is Phase.KILLING and now - attempt.killed_s > KILL_LIMIT_S
            if late and attempt.exit is not None and not attempt.reported:
                self.report(attempt)

    def forget(self, attempt: Attempt) -> None:
        if not attempt.reported:
            self.report(attempt)
        self.trees.remove(attempt)
        self.gone.append(attempt.key)
        self.hold()
        self.alone_since_s = time.monotonic()

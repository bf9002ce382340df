"""The daemon's end of the spawner: starts or adopts it, sends it orders, and reads what attempts left behind.

Orders are gathered and written once per turn of the loop. Events are handed to a callback straight from
`data_received`: no task or queue stands between the end of a process and the daemon.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from appliance.errors import OperatorError
from appliance.spawner import kernel, launch, records

# The spawner is listening after about 30 ms; a disk that is slow at power-on gets a hundred times that.
START_LIMIT_S = 2.0
LOG_NAME = "spawner.log"
MARKER = kernel.MARKER
FEED_FD = launch.FEED_FD
_encode = json.JSONEncoder(separators=(",", ":")).encode
PROGRAM = Path(__file__).resolve().parent / "spawner"
# What a process in uninterruptible sleep may hold up at the daemon's start, which has 10 s in all.
LEFTOVERS_LIMIT_S = 5.0
# An exec takes far less; a program that erased its own command line looks like one for ever.
EXEC_LIMIT_S = 0.2


class SpawnerError(OperatorError):
    """The spawner cannot be had; `hint` says what to do now."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is started: its command line and environment, its working folder, and as whom (None: as we are)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """One attempt to be started. `folder` takes its records and output; it is created where absent."""

    key: str
    folder: Path
    program: Program | None
    """None is the one that was prepared."""
    feed: tuple[str, ...] | None = None
    """What it reads from descriptor 9, each part ended by a NUL."""
    stdin: Path | None = None
    reuse: Path | None = None
    """The folder of an attempt that is gone, to be renamed to `folder`; else, or where that fails, one is made."""


@dataclass(frozen=True, slots=True)
class Started:
    """The attempt runs, since `began_s` on CLOCK_BOOTTIME. Its process, which may have waited for it, exists since
    `start_time`, in ticks since boot (field 22 of /proc/PID/stat).
    """

    key: str
    pid: int
    start_time: int
    began_s: float


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No process was started; `error` says why, for the person who reads the task."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the leader and the children it waited for used."""

    cpu_ms: int
    max_rss_kb: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The leader ended: by itself with `exit_code`, or by `signal`; the other is None."""

    key: str
    exit_code: int | None
    signal: int | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing of the attempt lives any more: nobody writes to its files."""

    key: str


Event = Started | SpawnFailed | Exited | Gone


@dataclass(frozen=True, slots=True)
class StartRecord:
    """What an attempt's `started` file says. `stamp` is the limit its processes carry, 0 for none.

    `key` is None where the process had waited: it is of the attempt that its folder is named after.
    """

    key: str | None
    pid: int
    start_time: int
    boot_id: str
    stamp: int


@dataclass(frozen=True, slots=True)
class Exit:
    """What an attempt's `exit` file says; `ended_at` in Unix seconds by the box's clock."""

    exit_code: int | None
    signal: int | None
    ended_at: float
    usage: Usage


class Spawner(asyncio.Protocol):
    """A connection to the one spawner of a data folder.

    `on_lost` is called once if the connection breaks, unless `close` or `retire` came before. After that every order
    raises SpawnerError.
    """

    def __init__(self, on_event: Callable[[Event], None], on_lost: Callable[[], None]) -> None:
        self.pid = 0
        self.boot_id = ""
        self.running: dict[str, Started] = {}
        """The attempts whose leader lives, by key: as the spawner said at the connect, and kept up since."""
        self._on_event = on_event
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[bool] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._inbox = bytearray()
        self._orders: list[str] = []
        self._is_wanted = True

    @classmethod
    async def start_or_adopt(
        cls,
        folder: Path,
        *,
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
        python: str = sys.executable,
    ) -> Self:
        """Connect to the living spawner of `folder`, else start one; SpawnerError after START_LIMIT_S."""
        try:
            async with asyncio.timeout(START_LIMIT_S):
                if spawner := await cls._connect(folder, on_event, on_lost):
                    return spawner
                await _start(folder, python)
                if spawner := await cls._connect(folder, on_event, on_lost):
                    return spawner
        except TimeoutError:
            pid = _read_holder(folder)
            raise SpawnerError(
                f"the spawner of {folder} does not answer",
                f"End process {pid} with SIGKILL: its tasks are recorded as interrupted, and a new one is started."
                if pid
                else f"See {folder / LOG_NAME}; a machine under heavy load may only need another try.",
            ) from None
        raise _start_error(folder)

    @classmethod
    async def _connect(
        cls, folder: Path, on_event: Callable[[Event], None], on_lost: Callable[[], None]
    ) -> Self | None:
        """None where no spawner listens, or where it ended before it said hello."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder_fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            # By way of the descriptor, since the path of a Unix socket may have only 107 bytes.
            connection.connect(f"/proc/self/fd/{folder_fd}/{records.SOCKET_NAME}")
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        finally:
            os.close(folder_fd)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, spawner = await loop.create_unix_connection(lambda: cls(on_event, on_lost), sock=connection)
        try:
            return spawner if await spawner._greeted else None
        except asyncio.CancelledError:
            spawner._is_wanted = False
            transport.abort()
            raise

    def prepare(self, program: Program, pool: Path) -> None:
        """Have processes of the usual program wait for their attempts, in folders below `pool`."""
        self._order(op="prepare", pool=str(pool), **_described(program))

    def spawn(self, request: SpawnRequest) -> None:
        """Start an attempt; `Started` or `SpawnFailed` follows."""
        order: dict[str, object] = {"op": "spawn", "key": request.key, "dir": str(request.folder)}
        if request.program is not None:
            order |= _described(request.program)
        if request.feed is not None:
            order["feed"] = request.feed
        if request.stdin is not None:
            order["stdin"] = str(request.stdin)
        if request.reuse is not None:
            order["reuse"] = str(request.reuse)
        self._order(**order)

    def terminate(self, key: str, grace_s: float) -> None:
        """SIGTERM to all processes of an attempt, SIGKILL after `grace_s`; `Exited` follows when all are gone."""
        self._order(op="terminate", key=key, grace_s=grace_s)

    def kill(self, key: str) -> None:
        """SIGKILL to all processes of an attempt; `Exited` follows when all are gone."""
        self._order(op="kill", key=key)

    def retire(self) -> None:
        """Let the spawner end after its last attempt. A daemon that connects until then keeps it in service."""
        self._order(op="retire")
        self._is_wanted = False

    def close(self) -> None:
        """Let go of the spawner, which goes on. What was ordered before is still written; only another daemon that
        connects before the spawner reads it makes it void."""
        self._is_wanted = False
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _order(self, **order: object) -> None:
        if self._transport is None or self._transport.is_closing():
            raise SpawnerError("the connection to the spawner is lost", "Start or adopt a spawner again.")
        if not self._orders:
            self._loop.call_soon(self._flush)
        self._orders.append(_encode(order))

    def _flush(self) -> None:
        if self._orders and self._transport is not None:
            self._transport.write(("\n".join(self._orders) + "\n").encode())
        self._orders.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        *lines, rest = self._inbox.split(b"\n")
        self._inbox = rest
        for line in lines:
            self._handle(json.loads(line.decode()))

    def _handle(self, body: dict[str, Any]) -> None:
        match body["ev"]:
            case "hello":
                self.pid, self.boot_id = body["pid"], body["boot_id"]
                self.running = {each["key"]: Started(**each) for each in body["running"]}
                if not self._greeted.done():
                    self._greeted.set_result(True)
            case "started":
                started = Started(body["key"], body["pid"], body["start_time"], body["began_s"])
                self.running[started.key] = started
                self._on_event(started)
            case "failed":
                self._on_event(SpawnFailed(body["key"], body["error"]))
            case "exited":
                if "pid" in body:
                    self._on_event(Started(body["key"], body["pid"], body["start_time"], body["began_s"]))
                self.running.pop(body["key"], None)
                self._on_event(Exited(body["key"], body["exit_code"], body["signal"], Usage(**body["usage"])))
            case "gone":
                for key in body["keys"]:
                    self._on_event(Gone(key))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # how it was lost changes nothing: the records in the folders say what happened
        self._transport = None
        if not self._greeted.done():
            self._greeted.set_result(False)
        elif self._is_wanted:
            self._is_wanted = False
            self._on_lost()


def _described(program: Program) -> dict[str, object]:
    return {"argv": program.argv, "env": dict(program.env), "cwd": str(program.cwd), "user": program.user}


async def _start(folder: Path, python: str) -> None:
    """Start a spawner and wait until it listens; SpawnerError with the last line of its log where it does not."""
    ready_fd, write_fd = os.pipe()
    try:
        child = _launch(folder, python, write_fd)
    except OSError as error:
        os.close(ready_fd)
        raise SpawnerError(f"cannot start the spawner with {python}: {error}", _START_HINT) from error
    finally:
        os.close(write_fd)
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(ready_fd, readable.set)
    try:
        await readable.wait()
        is_ready = os.read(ready_fd, 64) == b"ready\n"
    finally:
        loop.remove_reader(ready_fd)
        os.close(ready_fd)
    # It has forked and left its parent, or failed: either way the process that was started here has ended.
    await asyncio.to_thread(os.waitpid, child, 0)
    if not is_ready:
        raise _start_error(folder)


def _launch(folder: Path, python: str, ready_fd: int) -> int:
    log_path = folder / LOG_NAME
    # What is inherited is named here: nothing else of the daemon's may live on in a process that outlives it. The
    # marker stays, so that a box which runs inside a task of another box is still found there.
    env = {name: value for name in ("PATH", "LANG", kernel.MARKER) if (value := os.environ.get(name)) is not None}
    return os.posix_spawn(
        python,
        [python, "-I", "-S", str(PROGRAM), "--folder", str(folder.resolve())],
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, ready_fd, 1),
            (os.POSIX_SPAWN_OPEN, 2, str(log_path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ],
        setsid=True,
    )


_START_HINT = "Check that the data folder can be written and that this Python runs, then start the box again."


def _start_error(folder: Path) -> SpawnerError:
    try:
        *_, last = (folder / LOG_NAME).read_text(errors="replace").splitlines() or [""]
    except OSError:
        last = ""
    return SpawnerError(f"the spawner of {folder} did not start: {last or 'it left no message'}", _START_HINT)


def _read_holder(folder: Path) -> int | None:
    """The process that serves the folder, or did last."""
    try:
        return int((folder / records.LOCK_NAME).read_text())
    except (OSError, ValueError):
        return None


def boot_id() -> str:
    """The kernel's name for this boot; records of another one are not believed."""
    return kernel.read_boot_id()


def read_started(folder: Path) -> StartRecord | None:
    """The `started` record in an attempt's folder; None where there is none, or none that is whole."""
    try:
        body = json.loads((folder / "started").read_bytes())
        return StartRecord(body["key"], body["pid"], body["start_time"], body["boot_id"], body["stamp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_exit(folder: Path, key: str, boot: str) -> Exit | None:
    """The `exit` record in an attempt's folder; None where there is none of this attempt and of boot id `boot`."""
    try:
        body = json.loads((folder / "exit").read_bytes())
        if body["boot_id"] != boot or body["key"] != key:
            return None
        return Exit(body["exit_code"], body["signal"], body["ended_at"], Usage(**body["usage"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def living_keys() -> set[str]:
    """The attempts of which a process lives that carries their marker, those of other boxes among them."""
    return {key for pid in kernel.all_pids() if (key := kernel.read_marker(pid)) is not None}


def kill_leftovers(started: Path, key: str, spare_pid: int = 0) -> int:
    """Kill every process of an attempt whose spawner has died, and return their number.

    `started` is the attempt's record; where it is missing or damaged, only the marker is left to go by. `spare_pid` is
    the living spawner, which carries the stamp of what it started last. Blocks for some ms; SpawnerError where a
    process does not die within LEFTOVERS_LIMIT_S.
    """
    record = read_started(started.parent)
    if record is not None and record.key not in {key, None}:  # of the attempt that had the folder before
        record = None
    if record is not None and record.boot_id != boot_id():
        return 0
    if record is None:
        _await_markers()
    killed: set[int] = set()
    deadline = time.monotonic() + LEFTOVERS_LIMIT_S
    while tree := _leftovers(record, key, spare_pid):
        if time.monotonic() > deadline:
            raise SpawnerError(
                f"processes {sorted(tree)} of attempt {key} do not die",
                "They hang in the kernel, or the box may not signal their user: end them, or restart the machine.",
            )
        for pid in tree:
            kernel.send_signal(os.kill, pid, signal.SIGKILL)
        killed |= tree
        time.sleep(0.002)
    return len(killed)


def _await_markers() -> None:
    """Let every process that is in the middle of an exec come out of it.

    The kernel lets go of the parent, here of the spawner, before the new program has its environment. A spawner that
    is killed just then has written no record, and for up to some ms under load the process bears no marker either.
    """
    deadline = time.monotonic() + EXEC_LIMIT_S
    while time.monotonic() < deadline and any(
        # Kernel threads, children of process 2, never have a command line; nor do zombies.
        stat.state != b"Z" and 2 not in (pid, stat.parent) and not kernel.read_file(f"/proc/{pid}/cmdline")
        for pid, stat in kernel.scan(None).items()
    ):
        time.sleep(0.001)


def _leftovers(record: StartRecord | None, key: str, spare_pid: int) -> set[int]:
    """The living processes of an attempt, by its leader, its stamp, its marker, and what descends from those."""
    found = {pid: stat for pid, stat in kernel.scan(None).items() if stat.state != b"Z" or stat.threads > 1}
    found.pop(spare_pid, None)
    leader = found.get(record.pid) if record else None
    if record and leader and leader.start_time != record.start_time:
        leader = None  # another process got that id
    tops = [
        pid
        for pid, stat in found.items()
        if (record is not None and record.stamp and kernel.read_stamp(pid) == record.stamp)
        or (record is not None and leader is not None and record.pid in (pid, stat.group, stat.session))
        or kernel.read_marker(pid) == key
    ]
    return kernel.descendants(found, tops) - {os.getpid()}

"""The spawner program as a daemon sees it: its real socket, no client of ours between."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from appliance import spawn
from appliance.spawner import kernel, records

BASH = ["/bin/bash", "--norc", "-c"]


LIMIT_S = 20.0


class Daemon:
    """One connection to the spawner of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: list[str] = []
        self.ahead: dict[str, Any] | None = None
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(LIMIT_S)
        self.connection.connect(str(folder / records.SOCKET_NAME))
        self.lines = self.connection.makefile("rb")
        self.hello = self.event("hello")

    def send(self, *orders: dict[str, Any]) -> None:
        self.connection.sendall(b"".join(json.dumps(order).encode() + b"\n" for order in orders))

    def order(self, key: str, script: str, **fields: Any) -> dict[str, Any]:
        order = {"op": "spawn", "key": key, "dir": str(self.folder / key), "argv": [*BASH, script]}
        return {**order, "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/", "stdin": None, "user": None, **fields}

    def spawn(self, key: str, script: str, **fields: Any) -> None:
        self.send(self.order(key, script, **fields))

    def event(self, kind: str) -> dict[str, Any]:
        """The next event, which must be of that kind; what is gone is noted aside, since it may come at any time."""
        event = self.next()
        while event["ev"] == "gone" != kind:
            self.gone += event["keys"]
            event = self.next()
        assert event["ev"] == kind, event
        return event

    def next(self) -> dict[str, Any]:
        """The next event; an end that tells of the start too counts as two."""
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            return ahead
        event: dict[str, Any] = json.loads(self.lines.readline())
        if event["ev"] == "exited" and "pid" in event:
            self.ahead = event
            return {**event, "ev": "started"}
        return event

    def start(self, key: str, script: str, **fields: Any) -> int:
        """The pid of an attempt that runs now."""
        self.spawn(key, script, **fields)
        pid: int = self.event("started")["pid"]
        return pid

    def run(self, key: str, script: str, **fields: Any) -> dict[str, Any]:
        self.start(key, script, **fields)
        return self.event("exited")

    def event_after(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order to spawn; its end, after its start."""
        self.send(order)
        self.event("started")
        return self.event("exited")

    def output(self, key: str, stream: str = "stdout") -> bytes:
        return (self.folder / key / stream).read_bytes()

    def is_closed_by_peer(self) -> bool:
        while (line := self.lines.readline()) and json.loads(line)["ev"] == "gone":
            pass
        return line == b""

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


def start_program(folder: Path) -> bytes:
    """What it says when it listens; b"" where it does not, and then FOLDER/log says why."""
    command = [sys.executable, "-I", "-S", str(spawn.PROGRAM), "--folder", str(folder)]
    with (folder / "log").open("ab") as log:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, timeout=LIMIT_S, check=False, env={}
        )
    return done.stdout


def wait_for(path: Path) -> None:
    """Until the spawner has written it."""
    until = time.monotonic() + LIMIT_S
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not come"
        time.sleep(0.001)


def wait_for_end(pid: int) -> None:
    """Return when the process has ended; TimeoutError where it does not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([fd], [], [], LIMIT_S)[0]:
            raise TimeoutError(f"process {pid} lives: {kernel.read_file(f'/proc/{pid}/cmdline')!r}")
    finally:
        os.close(fd)


def is_alive(pid: int) -> bool:
    stat = kernel.read_stat(pid)
    return stat is not None and stat.state != b"Z"


def carriers(stamp: int) -> list[int]:
    """The living processes that carry a stamp, and are not the spawner that gave it."""
    return [pid for pid in kernel.all_pids() if kernel.read_stamp(pid) == stamp and is_alive(pid)]


def signal_sets(status: str) -> list[int]:
    """The blocked and the ignored signals of a process, but 32 and 33: posix_spawn of glibc ignores those, its own."""
    return [int(mask, 16) & ~(0b11 << 31) for mask in re.findall(r"Sig(?:Blk|Ign):\t(\w+)", status)]


def record(folder: Path, name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((folder / name).read_bytes())
    return body

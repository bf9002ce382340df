"""How a runner is started and how it finds its daemon: the order to the spawner, its folders, the daemon's socket.

The socket is abstract, since the user as whom runners run may not enter the data folder. Whoever connects must be that
user, name the token of a runner that was started, and be the process that the spawner started for it.
"""

import asyncio
import logging
import os
import pwd
import secrets
import shutil
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from appliance.bash import TaskUser
from appliance.browser.flags import DRIVER_ENVIRONMENT
from appliance.browser.seat import Seat
from appliance.browser.wire import LINE_LIMIT_BYTES, Hello, Place, decode_from_runner
from appliance.folder import DataFolder
from appliance.spawn import Program, SpawnRequest

log = logging.getLogger(__name__)

# No task's id begins so.
KEY_PREFIX: Final = "~browser-"
ENVIRONMENT: Final = "OPERIS_BROWSER"
HELLO_LIMIT_S: Final = 5.0
# Isolated: what a page has put into the runner's folder is not imported.
RUNNER: Final = (sys.executable, "-I", "-m", "appliance.browser.runner")
# Of the driver: left to itself its heap grows with each task, from 137 to 172 MB over 180 of them; so it stays at 98.
NODE_OPTIONS: Final = "--max-semi-space-size=4 --max-old-space-size=512"
_PASSED_ON: Final = ("TZ", "PLAYWRIGHT_BROWSERS_PATH", "FONTCONFIG_PATH", "FONTCONFIG_FILE")
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))

Welcome = Callable[[str, int], Seat | None]
Serve = Callable[[Seat, asyncio.StreamReader], Awaitable[None]]


class Launcher:
    """`welcome` gives the seat of a token for the process that names it; `serve` then has the connection to its end."""

    def __init__(self, folder: DataFolder, user: TaskUser, welcome: Welcome, serve: Serve) -> None:
        self._folder = folder
        self._user = user
        self._welcome = welcome
        self._serve = serve
        self._address = f"operis-browser-{secrets.token_hex(16)}"
        self._server: asyncio.Server | None = None
        entry = None if user.switch_to is None else pwd.getpwnam(user.switch_to)
        self._owner = None if entry is None else (entry.pw_uid, entry.pw_gid)

    async def listen(self) -> None:
        """Take connections from now on."""
        if self._server is None:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listening.bind(f"\0{self._address}")
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=LINE_LIMIT_BYTES)

    def new_seat(self) -> Seat:
        """A runner that is to be started, with its folder. Raises `OSError`."""
        key = f"{KEY_PREFIX}{secrets.token_hex(6)}.1"
        temporary = self._folder.browser_temporary / key
        self.give(temporary)
        return Seat(key, secrets.token_hex(16), self._folder.runners / key, temporary)

    def give(self, folder: Path) -> None:
        """Make a folder that the runners' user alone may use. Raises `OSError`."""
        folder.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(folder, *self._owner)

    def request(self, seat: Seat, *, slots: int, memory_limit_mib: int, program: str | None) -> SpawnRequest:
        """The order to start it."""
        place = Place(
            address=self._address, token=seat.token, slots=slots, memory_limit_mib=memory_limit_mib, program=program
        )
        temporary = str(seat.temporary)
        env = {
            "PATH": self._user.env["PATH"],
            # What Chromium and its libraries leave in a home goes with the runner.
            "HOME": temporary,
            "TMPDIR": temporary,
            "LANG": "C.UTF-8",
            "NODE_OPTIONS": NODE_OPTIONS,
            "PLAYWRIGHT_BROWSERS_PATH": str(self._user.home / ".cache" / "ms-playwright"),
            **{name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None},
            ENVIRONMENT: place.model_dump_json(),
            **DRIVER_ENVIRONMENT,
        }
        return SpawnRequest(
            key=seat.key,
            folder=seat.folder,
            program=Program(RUNNER, env, seat.temporary, self._user.switch_to),
        )

    async def clear(self, seat: Seat) -> None:
        """Remove the folders of a runner of which nothing lives."""
        for folder in (seat.temporary, seat.folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        seat = None
        if uid == (os.geteuid() if self._owner is None else self._owner[0]):
            seat = await self._greeted(reader, pid)
        if seat is None:
            log.warning("a connection that is no runner's was closed", extra={"pid": pid, "uid": uid})
        else:
            seat.writer = writer
            await self._serve(seat, reader)
        writer.close()

    async def _greeted(self, reader: asyncio.StreamReader, pid: int) -> Seat | None:
        try:
            async with asyncio.timeout(HELLO_LIMIT_S):
                hello = decode_from_runner(await reader.readline())
        except (TimeoutError, ValueError, OSError):
            return None
        return self._welcome(hello.token, pid) if isinstance(hello, Hello) else None


def last_words(seat: Seat) -> str:
    """What a runner said last before it ended; empty where it said nothing."""
    try:
        lines = (seat.folder / "stderr").read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""

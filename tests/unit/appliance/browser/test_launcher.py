"""Who is taken for a runner: the process that was started for it, with its token, and nobody else."""

import asyncio
import os
from pathlib import Path

import pytest

from appliance.bash import TaskUser
from appliance.browser import wire
from appliance.browser.launcher import KEY_PREFIX, RUNNER, Launcher, last_words
from appliance.browser.seat import Seat
from appliance.folder import DataFolder
from appliance.planner import _TASK_ID


class Front:
    """A launcher and what came to it."""

    def __init__(self, folder: DataFolder) -> None:
        self.launcher = Launcher(folder, TaskUser.named(None), self._welcome, self._serve)
        self.seat = self.launcher.new_seat()
        self.expected_pid = os.getpid()
        self.lines: list[bytes] = []

    def _welcome(self, token: str, pid: int) -> Seat | None:
        return self.seat if (token, pid) == (self.seat.token, self.expected_pid) else None

    async def _serve(self, seat: Seat, reader: asyncio.StreamReader) -> None:
        assert seat is self.seat
        self.lines.append(await reader.readline())

    async def say(self, first: bytes) -> bytes:
        """Connect as a runner would; what is there to read at the end."""
        place = wire.Place.model_validate_json(self.request_env()["OPERIS_BROWSER"])
        reader, writer = await asyncio.open_unix_connection(f"\0{place.address}")
        writer.write(first)
        rest = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return rest

    def request_env(self) -> dict[str, str]:
        request = self.launcher.request(self.seat, slots=2, memory_limit_mib=3, program="/p")
        assert request.program is not None
        return dict(request.program.env)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder.open(tmp_path / "box")


async def test_the_runner_that_was_started_is_served(folder: DataFolder) -> None:
    front = Front(folder)
    await front.launcher.listen()
    hello = wire.encode(wire.Hello(token=front.seat.token))
    await front.say(hello + b"second line\n")
    assert front.lines == [b"second line\n"]
    front.launcher.close()


@pytest.mark.parametrize("case", ["another token", "another process", "no message", "another message"])
async def test_nobody_else_is(folder: DataFolder, case: str) -> None:
    front = Front(folder)
    await front.launcher.listen()
    first = wire.encode(wire.Hello(token=front.seat.token))
    match case:
        case "another token":
            first = wire.encode(wire.Hello(token="guess"))
        case "another process":
            front.expected_pid = 1
        case "no message":
            first = b"hello\n"
        case _:
            first = wire.encode(wire.Quit())
    assert await front.say(first + b"second line\n") == b""
    assert front.lines == []
    front.launcher.close()


async def test_a_runner_is_started_isolated_in_folders_of_its_own(folder: DataFolder) -> None:
    front = Front(folder)
    request = front.launcher.request(front.seat, slots=2, memory_limit_mib=3, program="/p")
    assert request.program is not None
    assert request.program.argv == RUNNER
    assert "-I" in RUNNER
    env = request.program.env
    assert env["TMPDIR"] == env["HOME"] == str(front.seat.temporary)
    assert front.seat.temporary.stat().st_mode & 0o077 == 0
    assert set(env) <= {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "NODE_OPTIONS", "OPERIS_BROWSER"} | {
        name for name in env if name.startswith(("PLAYWRIGHT_", "PW_", "FONTCONFIG_"))
    }
    assert front.seat.key.startswith(KEY_PREFIX)
    assert not _TASK_ID.match(front.seat.key)


async def test_what_it_said_last_can_be_told(folder: DataFolder) -> None:
    front = Front(folder)
    assert last_words(front.seat) == ""
    front.seat.folder.mkdir()
    (front.seat.folder / "stderr").write_text("Traceback\n  some line\nMemoryError: none left\n\n")
    assert last_words(front.seat) == "MemoryError: none left"
    await front.launcher.clear(front.seat)
    assert not front.seat.folder.exists()
    assert not front.seat.temporary.exists()

"""The runner as a process: what it says to a daemon, and that it never outlives it."""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.async_api import async_playwright

from appliance.browser import wire
from appliance.browser.contexts import Contexts, Fresh
from appliance.browser.launch import launch
from appliance.browser.runner import PLACE, Runner
from cloudsync.spec import BrowserRun

LIMIT_S = 30.0


class Daemon:
    """The daemon's end of one runner."""

    def __init__(self, folder: Path, program: str | None = None) -> None:
        self._folder = folder
        self._program = program

    async def start(self) -> None:
        address = f"operis-test-{secrets.token_hex(8)}"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"\0{address}")
        came: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.get_running_loop().create_future()
        )

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.set_result((reader, writer))

        self.server = await asyncio.start_unix_server(accept, sock=listening, limit=wire.LINE_LIMIT_BYTES)
        place = wire.Place(address=address, token="t", slots=1, memory_limit_mib=1000, program=self._program)
        env = {**os.environ, PLACE: place.model_dump_json(), "TMPDIR": str(self._folder), "HOME": str(self._folder)}
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-m", "appliance.browser.runner", env=env)
        self.reader, self.writer = await asyncio.wait_for(came, LIMIT_S)
        assert await self.hear() == wire.Hello(token="t")

    async def hear(self) -> Any:
        return wire.decode_from_runner(await asyncio.wait_for(self.reader.readline(), LIMIT_S))

    async def hear_of(self, kind: type) -> Any:
        while not isinstance(message := await self.hear(), kind):
            pass
        return message

    def say(self, message: Any) -> None:
        self.writer.write(wire.encode(message))

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), LIMIT_S)

    async def close(self) -> None:
        self.writer.close()
        self.server.close()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    await daemon.start()
    yield daemon
    await daemon.close()


def run(key: str, folder: Path, *steps: dict[str, Any]) -> wire.Run:
    spec = BrowserRun.model_validate({"kind": "browser.run", "steps": list(steps)})
    return wire.Run(key=key, spec=spec, folder=str(folder), secrets={}, state_file=None)


async def test_an_attempt_is_started_told_step_by_step_and_done(daemon: Daemon, tmp_path: Path) -> None:
    ready = await daemon.hear_of(wire.Ready)
    assert ready.browser.has_sandbox == (os.geteuid() != 0)
    folder = tmp_path / "attempt"
    folder.mkdir()
    daemon.say(run("t.1", folder, {"action": "url"}, {"action": "screenshot"}))
    assert await daemon.hear_of(wire.Started) == wire.Started(key="t.1")
    first, second = await daemon.hear_of(wire.Stepped), await daemon.hear_of(wire.Stepped)
    assert (first.index, first.result.value, second.index) == (0, "about:blank", 1)
    done = await daemon.hear_of(wire.Done)
    assert (done.key, done.state, done.error) == ("t.1", wire.RunState.SUCCEEDED, None)
    assert [Path(file.path).parent for file in done.files] == [folder]
    assert (await daemon.hear_of(wire.Memory)).pss_mib > 0


async def test_a_cancelled_attempt_is_done_soon(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.hear_of(wire.Ready)
    daemon.say(run("t.1", tmp_path, {"action": "wait_for", "milliseconds": 600_000}))
    await daemon.hear_of(wire.Started)
    daemon.say(wire.Cancel(key="t.1"))
    assert (await daemon.hear_of(wire.Done)).state is wire.RunState.CANCELLED


class Telling(Contexts):
    """Says in the runner's own words when it closes one."""

    runner: Runner

    async def close(self, fresh: Fresh) -> None:
        self.runner.say(wire.Worn(why="closing"))
        await super().close(fresh)
        self.runner.say(wire.Worn(why="closed"))


@pytest.mark.parametrize(
    ("step", "order"),
    [
        ({"action": "title"}, ["succeeded", "closing", "closed"]),
        ({"action": "click", "selector": "#none", "timeout_s": 0.1}, ["closing", "closed", "failed"]),
        ({"action": "wait_for", "milliseconds": 600_000}, ["closing", "closed", "cancelled"]),
    ],
)
async def test_an_attempt_that_did_not_succeed_is_told_of_when_its_context_is_closed(
    tmp_path: Path, step: dict[str, Any], order: list[str]
) -> None:
    ours, theirs = socket.socketpair()
    reader, other_end = await asyncio.open_unix_connection(sock=ours, limit=wire.LINE_LIMIT_BYTES)
    _, writer = await asyncio.open_unix_connection(sock=theirs)
    place = wire.Place(address="", token="t", slots=0, memory_limit_mib=1000, program=None)
    told: list[str] = []
    async with async_playwright() as playwright:
        browser, _ = await launch(playwright, None)
        contexts = Telling(playwright, browser, ahead=0)
        contexts.runner = runner = Runner(place, writer, contexts)
        runner.receive(run("t.1", tmp_path, step))
        while len(told) < len(order):
            match wire.decode_from_runner(await asyncio.wait_for(reader.readline(), LIMIT_S)):
                case wire.Started() if order[-1] == "cancelled":
                    runner.receive(wire.Cancel(key="t.1"))
                case wire.Done(state=state):
                    told.append(state.value)
                case wire.Worn(why=why):
                    told.append(why)
        await browser.close()
    for end in (writer, other_end):
        end.close()
        await end.wait_closed()
    assert told == order


async def test_one_that_is_let_go_ends_after_its_last_attempt(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.hear_of(wire.Ready)
    daemon.say(run("t.1", tmp_path, {"action": "wait_for", "milliseconds": 300}))
    daemon.say(wire.Quit())
    assert (await daemon.hear_of(wire.Done)).state is wire.RunState.SUCCEEDED
    assert await daemon.ended() == 0


async def test_it_ends_with_its_daemon_and_takes_its_browser_along(daemon: Daemon) -> None:
    await daemon.hear_of(wire.Ready)
    tree = psutil.Process(daemon.process.pid).children(recursive=True)
    assert len(tree) > 2
    daemon.writer.close()
    assert await daemon.ended() == 0
    _, alive = psutil.wait_procs(tree, timeout=LIMIT_S)
    assert alive == []


async def test_it_says_that_its_browser_is_gone_and_ends(daemon: Daemon) -> None:
    await daemon.hear_of(wire.Ready)
    (driver,) = psutil.Process(daemon.process.pid).children()
    driver.children()[0].kill()
    assert (await daemon.hear_of(wire.Lost)).what == "the browser ended"
    assert await daemon.ended() == 1


async def test_it_says_that_its_driver_is_gone_and_ends(daemon: Daemon) -> None:
    await daemon.hear_of(wire.Ready)
    (driver,) = psutil.Process(daemon.process.pid).children()
    driver.kill()
    assert (await daemon.hear_of(wire.Lost)).what in {"the browser's driver ended", "the browser ended"}
    assert await daemon.ended() == 1


async def test_it_says_why_there_is_no_browser(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "/no/such/chromium")
    await daemon.start()
    assert (await daemon.hear_of(wire.Unable)).error.code == "no_browser"
    assert await daemon.ended() == 0
    await daemon.close()

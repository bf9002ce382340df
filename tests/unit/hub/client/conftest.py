"""A hub to talk to, and the command as a function and as a process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from hub.client import attend, follow
from hub.client.address import read_address
from hub.client.cli import main
from hub.client.http import Hub
from tests.unit.hub.client.peer import KEY, Peer


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()


Operis = Callable[..., Done]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A hub that answers as it is told."""
    peer = Peer()
    try:
        yield peer
    finally:
        peer.close()


@pytest.fixture
def hub(peer: Peer) -> Iterator[Hub]:
    """The client's view of it."""
    with Hub(read_address(peer.url, KEY), connect_s=1, read_s=1) as hub:
        yield hub


@pytest.fixture
def operis(peer: Peer, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Operis:
    """Run the command in this process. Its pauses between attempts are short."""
    monkeypatch.setenv("OPERIS_HUB", peer.url)
    monkeypatch.setenv("OPERIS_KEY", KEY)
    monkeypatch.setattr(attend, "RETRY_S", (0.01, 0.01))
    monkeypatch.setattr(follow, "RETRY_S", (0.01,))

    def call(*arguments: str) -> Done:
        try:
            status = main(arguments)
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        out, err = capsysbinary.readouterr()
        return Done(status, out, err.decode())

    return call


@pytest.fixture
def start(peer: Peer) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start the command as a process of its own, with pipes; whatever is left of it is killed."""
    started: list[subprocess.Popen[bytes]] = []
    # Output is buffered, as it is for most.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def launch(
        *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.client.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**env, "OPERIS_HUB": peer.url, "OPERIS_KEY": KEY},
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()

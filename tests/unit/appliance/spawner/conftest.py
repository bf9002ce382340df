"""A spawner, a daemon that is connected to it, and programs that outlive their parents."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.spawner import records
from tests.unit.appliance.spawner.daemon import Daemon, is_alive, start_program, wait_for_end
from tests.unit.appliance.trees import Sleepers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    assert start_program(tmp_path) == b"ready\n"
    yield tmp_path
    pid = int((tmp_path / records.LOCK_NAME).read_text())
    if is_alive(pid) and (tmp_path / records.SOCKET_NAME).exists():
        last = Daemon(tmp_path)
        last.send(*({"op": "kill", "key": each["key"]} for each in last.hello["running"]), {"op": "retire"})
        wait_for_end(pid)
        last.close()


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(folder)
    yield daemon
    daemon.close()


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[Sleepers]:
    sleepers = Sleepers(tmp_path)
    yield sleepers
    sleepers.close()

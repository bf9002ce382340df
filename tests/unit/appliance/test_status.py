"""What is said of a box, by its daemon or by its folder alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance import status
from appliance.browser.supervisor import BrowserLimits
from appliance.errors import FolderUnusable
from appliance.uplink import Uplink
from tests.system.program import BIN
from tests.unit.appliance.engines import Engines, bash, until


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BIN / "operis-box", *map(str, arguments)], capture_output=True, text=True, check=False)


async def test_without_a_daemon_the_folder_says_what_it_knows(engines: Engines) -> None:
    engine = await engines.open(concurrency=1)
    engine.enrolment = engine.enrolment.told("ws://hub:1/relay", "http://hub:1", "secret-token-1", "box-1")
    engine.enrolment.save(engine.folder.enrolment)
    running = await engine.submit(bash("sleep 600"))
    await engine.submit(bash("echo"))
    await until("a start", lambda: engine.executor.running[f"{running}.1"].started_boot_s)
    await engines.close()
    found = status.of_folder(engines.path)
    assert (found["running"], found["link"]["state"], found["queue"]) == (False, "stopped", {"queued": 1, "running": 1})
    assert found["unsynced_events"] == 2
    assert "secret-token-1" not in json.dumps(found)

    done = command("status", "--data", engines.path, "--json")
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout)["queue"] == found["queue"]
    done = command("status", "--data", engines.path)
    assert done.returncode == 3
    assert "not running" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 or str(engines.path) in done.stdout


def test_a_folder_that_is_no_boxs_is_refused(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "missing"):
        done = command("status", "--data", data)
        assert done.returncode == 1
        assert "is not the data folder of a box" in done.stderr
        assert "hint: " in done.stderr


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("no database " * 1000)
    with pytest.raises(FolderUnusable, match="cannot be read") as caught:
        status.of_folder(tmp_path)
    assert caught.value.hint


async def test_the_daemon_warns_of_what_somebody_should_look_at(engines: Engines) -> None:
    await engines.open()
    await engines.close()
    (engines.path / "journal.db").unlink()
    engine = await engines.open(disk_floor_bytes=1 << 60, browser=BrowserLimits(is_on=False))
    await engine.hold_hub_work(True)
    found: dict[str, Any] = status.of_daemon(engine, Uplink(engine), 0)
    lost, held, full = found["warnings"]
    assert "new incarnation" in lost
    assert "until the hub takes this box again" in held
    assert "disk is full" in full

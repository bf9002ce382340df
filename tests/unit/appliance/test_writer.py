"""Group commit, and a disk that is full or fails."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from appliance.errors import EXIT_DISK_FAILED, TaskRefused
from appliance.writer import RESERVE_BYTES, make_reserve, spend_reserve
from cloudsync.task import TaskState
from tests.system.program import ROOT
from tests.unit.appliance.engines import LIMIT_S, Engines, bash, run_command, until

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own. Named before `engines`, so that it goes after what works in it."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Use up the space of a file system; removing the file gives it back."""
    ballast = folder / "ballast"
    usage = os.statvfs(folder)
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with suppress(OSError):
        os.posix_fallocate(fd, ballast.stat().st_size, max(1, usage.f_bavail * usage.f_frsize - leave_bytes))
        while not leave_bytes:
            os.write(fd, bytes(4096))
    os.close(fd)
    return ballast


async def test_what_waits_together_is_one_commit(engines: Engines) -> None:
    engine = await engines.open(concurrency=64)
    before = engine.journal.commits
    ids = await asyncio.gather(*(engine.submit(bash("sleep 600")) for _ in range(32)))
    assert len(set(ids)) == 32
    assert engine.journal.commits - before <= 3


async def test_jobs_are_durable_in_order_and_told_after(engines: Engines) -> None:
    engine = await engines.open()
    told: list[int] = []
    for number in range(2000):
        engine.journal.commit(
            [("INSERT INTO meta (name, value) VALUES (?, ?)", (f"n{number:04}", number))],
            lambda number=number: told.append(number),  # type: ignore[misc]
        )
    await engine.journal.committed([])
    assert told == list(range(2000))
    assert engines.rows("SELECT count(*) FROM meta WHERE name LIKE 'n____' AND name <> 'name'") == [(2000,)]


async def test_a_lock_that_somebody_else_holds_is_waited_for_without_standing_still(engines: Engines) -> None:
    engine = await engines.open()
    other = sqlite3.connect(engines.path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    submitted = asyncio.create_task(engine.submit(bash("true")))
    longest_s, seen = 0.0, asyncio.get_running_loop().time()
    for _ in range(20):
        await asyncio.sleep(0.01)
        now = asyncio.get_running_loop().time()
        longest_s, seen = max(longest_s, now - seen), now
    assert not submitted.done()
    assert longest_s < 0.2
    other.execute("COMMIT")
    other.close()
    done = await engine.wait(await submitted)
    assert done is not None
    assert done.outcome.exit_code == 0


def test_the_reserve_is_made_once_given_up_and_made_again(tmp_path: Path) -> None:
    reserve = tmp_path / "reserve"
    assert make_reserve(reserve)
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    assert make_reserve(reserve)
    spend_reserve(reserve)
    assert reserve.stat().st_blocks == 0
    spend_reserve(tmp_path / "missing")
    assert make_reserve(reserve)
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES


def test_no_reserve_is_made_where_there_is_little_room(small_disk: Path) -> None:
    fill(small_disk, RESERVE_BYTES)
    assert not make_reserve(small_disk / "reserve")


async def test_a_full_disk_refuses_work_keeps_outcomes_and_recovers_by_itself(
    small_disk: Path, engines: Engines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = await engines.open(small_disk / "box", disk_floor_bytes=24 * MIB)
    reserve = engines.path / "reserve"
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ids = [f"t{number}" for number in range(6)]
    script = f"head -c 200000 /dev/urandom | base64 -w 0; read -r _ < {gate}; exit 3"
    await engines.apply(*(run_command(task_id, script) for task_id in ids))
    attempts = engines.path / "attempts"
    whole = 266_668
    await until("all output", lambda: sum(file.stat().st_size for file in attempts.glob("*/stdout")) == 6 * whole)
    fill(small_disk)
    await until("a refusal", engine.intake.refusal)
    with pytest.raises(TaskRefused, match="disk is full") as caught:
        await engine.submit(bash("echo"))
    assert "works again by itself" in caught.value.error.hint
    held = os.open(gate, os.O_RDWR)
    os.write(held, b"go\n" * len(ids))
    for task_id in ids:
        done = await engines.wait(task_id)
        assert (done.state, done.outcome.exit_code) == (TaskState.FAILED, 3)
        assert done.outcome.stdout.total_bytes == whole
    os.close(held)
    await engines.apply(run_command("refused", "echo"), from_seq=7)
    assert engines.states("refused") == ["rejected"]
    assert engines.rows("PRAGMA integrity_check") == [("ok",)]
    assert reserve.stat().st_blocks == 0

    (small_disk / "ballast").unlink()
    await until("the end of the refusals", lambda: engine.intake.refusal() is None)
    done = await engines.run("echo again")
    assert done.outcome.stdout.text == "again\n"
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES


async def test_a_disk_that_is_full_beyond_the_reserve_holds_everything_and_goes_on_when_there_is_room(
    small_disk: Path, engines: Engines
) -> None:
    engine = await engines.open(small_disk / "box", disk_floor_bytes=0)
    fill(small_disk)
    spend_reserve(engines.path / "reserve")
    fill(small_disk)
    submitted = [asyncio.create_task(engine.submit(bash(f"echo {n} {'x' * 50_000}"))) for n in range(8)]
    await until("a held journal", lambda: engine.journal.is_held)
    with pytest.raises(TaskRefused):
        await engine.submit(bash("echo"))
    assert not any(task.done() for task in submitted)
    assert engines.rows("SELECT count(*) FROM tasks") == [(0,)]
    (small_disk / "ballast").unlink()
    for n, task in enumerate(submitted):
        assert (await engines.wait(await task)).outcome.stdout.text.startswith(f"{n} xx")
    assert not engine.journal.is_held


async def test_a_box_starts_and_stops_on_a_disk_that_is_full(small_disk: Path, engines: Engines) -> None:
    await engines.open(small_disk / "box", disk_floor_bytes=24 * MIB)
    done = await engines.run("echo before")
    await engines.end()
    fill(small_disk)
    engine = await engines.open(disk_floor_bytes=24 * MIB)
    assert engine.intake.refusal() is not None
    assert (await engines.wait(done.task_id)).outcome.stdout.text == "before\n"
    await engines.end()
    (small_disk / "ballast").unlink()
    await engines.open(disk_floor_bytes=24 * MIB)
    assert (await engines.run("echo after")).outcome.stdout.text == "after\n"


FAILING = """
import asyncio, sys
from pathlib import Path
import pysqlite3.dbapi2 as sqlite3
from appliance import journal
from appliance.engine import Engine
from cloudsync.spec import BashExec
from tests.unit.appliance import commits

def fail(statements):
    if journal.ADD_TASK in statements:
        raise sqlite3.OperationalError("disk I/O error")

async def main():
    journal._open_checked = commits.wrapped(journal._open_checked, fail, commits.nothing)
    engine = await Engine.open(Path(sys.argv[1]))
    await engine.submit(BashExec(kind="bash.exec", command="echo"))
    print("accepted")

asyncio.run(main())
"""


async def test_a_failed_sync_ends_the_process_and_nothing_was_accepted(engines: Engines) -> None:
    pipe = asyncio.subprocess.PIPE
    arguments = (sys.executable, "-c", FAILING, engines.path)
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, error = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert (process.returncode, out) == (EXIT_DISK_FAILED, b"")
    assert b"the journal cannot be written" in error
    await engines.open()
    assert engines.rows("SELECT count(*) FROM tasks") == [(0,)]

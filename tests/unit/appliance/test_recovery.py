"""What is true after a daemon, a spawner or the machine was stopped, found out with real processes."""

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from appliance import journal, recovery, spawn, writer
from appliance.journal import ADD_TASK
from appliance.spawn import Spawner, SpawnerError
from appliance.spawner import records
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import MAX_ATTEMPTS, encode_spec
from cloudsync.task import TaskState
from tests.system.program import ROOT
from tests.unit.appliance import commits
from tests.unit.appliance.engines import (
    LIMIT_S,
    Engines,
    bash,
    cancel_command,
    is_alive,
    number_in,
    run_command,
    spawner_pid,
    until,
    until_gone,
)

RUNS_ON = ("after the task is durable", "before its process is ordered", "after its process is ordered")
ENDED = ("when it has ended", "before its outcome is durable", "after its outcome is durable", "before its folder goes")
ENDING = (
    "before its intent is durable",
    "after its intent is durable",
    "before its end is ordered",
    "after its end is ordered",
)


async def crash(engines: Engines, point: str, command: str, **fields: object) -> None:
    """Run a task in a daemon that is killed at `point`."""
    module = "tests.unit.appliance.crashing"
    spec = encode_spec(bash(command, **fields))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, engines.path, point, spec, cwd=ROOT)
    try:
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()


async def only_task(engines: Engines) -> str:
    ((task_id,),) = engines.rows("SELECT id FROM tasks")
    assert isinstance(task_id, str)
    return task_id


# A daemon that was killed


async def test_a_task_that_was_never_durable_never_runs(engines: Engines, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    await crash(engines, "before the task is durable", f"echo >> {ran}")
    await engines.open()
    assert engines.rows("SELECT count(*) FROM tasks") == [(0,)]
    assert (await engines.run("echo next")).state is TaskState.SUCCEEDED
    assert not ran.exists()


@pytest.mark.parametrize("point", [*RUNS_ON, "when it has started", *ENDED])
async def test_a_task_runs_exactly_once_wherever_its_daemon_is_killed(
    engines: Engines, tmp_path: Path, point: str
) -> None:
    ran = tmp_path / "ran"
    await crash(engines, point, f"echo $OPERIS_TASK_ID >> {ran}; echo out; exit 5")
    await engines.open()
    task_id = await only_task(engines)
    done = await engines.wait(task_id)
    assert (done.state, done.outcome.exit_code, done.outcome.stdout.text) == (TaskState.FAILED, 5, "out\n")
    assert ran.read_text() == f"{task_id}\n"
    assert engines.states(task_id) == ["running", "failed"]
    assert done.outcome.started_at_ms is not None
    assert done.outcome.ended_at_ms is not None
    assert done.outcome.started_at_ms <= done.outcome.ended_at_ms
    await until("the attempt's folder to go", lambda: not list((engines.path / "attempts").iterdir()))


@pytest.mark.parametrize("point", ENDING)
async def test_a_task_whose_time_is_over_is_timed_out_wherever_its_daemon_is_killed(
    engines: Engines, tmp_path: Path, point: str
) -> None:
    ran = tmp_path / "ran"
    await crash(engines, point, f"echo $$ >> {ran}; sleep 600", timeout_s=0.3)
    await engines.open()
    done = await engines.wait(await only_task(engines))
    assert done.state is TaskState.TIMED_OUT
    assert engines.states(done.task_id) == ["running", "timed_out"]
    pid = number_in(ran)
    assert pid is not None
    assert not is_alive(pid)


async def test_a_running_task_is_adopted_and_its_whole_output_arrives(engines: Engines, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await crash(engines, "when it has started", f"echo before; read -r _ < {gate}; echo after; exit 9")
    await engines.open()
    task_id = await only_task(engines)
    assert engines.engine is not None
    assert engines.engine.executor.running[f"{task_id}.1"].started_boot_s is not None
    await asyncio.to_thread(gate.write_text, "go\n")
    done = await engines.wait(task_id)
    assert (done.outcome.exit_code, done.outcome.stdout.text) == (9, "before\nafter\n")


async def test_daemon_and_spawner_both_killed_interrupt_a_task_and_leave_nothing_of_it(
    engines: Engines, tmp_path: Path
) -> None:
    pids = [tmp_path / "leader", tmp_path / "child"]
    script = f"setsid bash -c 'echo $$ > {pids[1]}; exec sleep 600' & echo $$ > {pids[0]}; sleep 600"
    await crash(engines, "when it has started", script)
    found = [await until("a pid", lambda path=path: number_in(path)) for path in pids]  # type: ignore[misc]
    await until_gone(engines.kill_spawner())
    await engines.open()
    done = await engines.wait(await only_task(engines))
    assert done.state is TaskState.INTERRUPTED
    assert done.outcome.error is not None
    assert (done.outcome.error.code, done.outcome.exit_code) == ("spawner_killed", None)
    assert not any(is_alive(pid) for pid in found)


async def test_the_kept_whole_output_survives_a_daemon_that_was_killed_at_its_end(engines: Engines) -> None:
    await crash(engines, "when it has ended", f"head -c {2 * ENTRY_LIMIT_BYTES} /dev/zero")
    await engines.open()
    done = await engines.wait(await only_task(engines))
    assert done.outcome.stdout.cut_bytes > 0
    (whole,) = done.outcome.artifacts
    assert (engines.path / "artifacts" / whole.sha256).read_bytes() == bytes(2 * ENTRY_LIMIT_BYTES)
    assert [path.name for path in (engines.path / "artifacts").iterdir()] == [whole.sha256]


# A daemon that was stopped


async def test_a_stopped_daemon_leaves_tasks_running_and_the_next_takes_them_up(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open(concurrency=1)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = await engine.submit(bash(f"read -r _ < {gate}; echo over"))
    second = await engine.submit(bash("echo second"))
    await until("a start", lambda: engine.executor.running[f"{first}.1"].started_boot_s)
    await engines.close()
    await asyncio.to_thread(gate.write_text, "go\n")
    pid = spawner_pid(engines.path)
    if pid is not None:  # it retires after its last task
        await until_gone(pid)
    await engines.open()
    assert (await engines.wait(first)).outcome.stdout.text == "over\n"
    assert (await engines.wait(second)).outcome.stdout.text == "second\n"


async def test_the_deadline_of_an_adopted_task_counts_from_its_start(engines: Engines) -> None:
    engine = await engines.open()
    task_id = await engine.submit(bash("sleep 600", timeout_s=1.0))
    await until("a start", lambda: engine.executor.running[f"{task_id}.1"].started_boot_s)
    await engines.close()
    await engines.open()
    done = await engines.wait(task_id)
    assert done.state is TaskState.TIMED_OUT
    assert done.outcome.started_at_ms is not None
    assert done.outcome.ended_at_ms is not None
    assert 980 <= done.outcome.ended_at_ms - done.outcome.started_at_ms < 3000


async def test_a_deadline_that_passed_without_a_daemon_ends_the_task_at_once(engines: Engines, tmp_path: Path) -> None:
    engine = await engines.open()
    late = tmp_path / "late"
    task_id = await engine.submit(bash(f"sleep 0.4; echo $$ > {late}; sleep 600", timeout_s=0.3))
    await engines.close()
    await until("a task over its time", lambda: number_in(late))
    await engines.open()
    assert (await engines.wait(task_id)).state is TaskState.TIMED_OUT


@pytest.mark.parametrize(("stopped_in_order", "code"), [(False, "power_cut"), (True, "box_restarted")])
async def test_after_another_boot_a_running_task_is_interrupted_and_nothing_of_that_boot_is_believed(
    engines: Engines, stopped_in_order: bool, code: str
) -> None:
    engine = await engines.open()
    task_id = await engine.submit(bash("sleep 0.1"))
    attempt = engines.path / "attempts" / f"{task_id}.1"
    await until("a start", (attempt / "started").exists)
    await engines.close()
    record = attempt / "exit"
    await until("an end", record.exists)
    record.write_text(json.dumps({**json.loads(record.read_text()), "boot_id": "earlier"}))
    engines.write("UPDATE tasks SET boot_id = 'earlier'")
    clean = "earlier" if stopped_in_order else ""
    engines.write("UPDATE meta SET value = ? WHERE name = 'clean_stop'", clean)
    await engines.open()
    done = await engines.wait(task_id)
    assert done.state is TaskState.INTERRUPTED
    assert done.outcome.error is not None
    assert done.outcome.error.code == code
    assert done.outcome.error.hint


async def test_after_a_power_cut_an_idempotent_task_is_tried_again(engines: Engines, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    engine = await engines.open()
    task_id = await engine.submit(bash(f"echo >> {ran}; [ $(wc -l < {ran}) = 2 ] || sleep 600", idempotent=True))
    await until("a run", ran.exists)
    await engines.end()
    engines.write("UPDATE tasks SET boot_id = 'earlier'")
    await engines.open()
    assert (await engines.wait(task_id)).state is TaskState.SUCCEEDED
    assert engines.states(task_id) == ["running", "running", "succeeded"]
    assert not (engines.path / "attempts" / f"{task_id}.1").exists()


# A spawner that was killed


async def test_a_killed_spawner_interrupts_what_ran_and_the_rest_goes_on(engines: Engines, tmp_path: Path) -> None:
    engine = await engines.open(concurrency=1)
    pids = [tmp_path / "leader", tmp_path / "child"]
    script = f"setsid bash -c 'echo $$ > {pids[1]}; exec sleep 600' & echo $$ > {pids[0]}; sleep 600"
    first = await engine.submit(bash(script))
    second = await engine.submit(bash("echo second"))
    found = [await until("a pid", lambda path=path: number_in(path)) for path in pids]  # type: ignore[misc]
    engines.kill_spawner()
    done = await engines.wait(first)
    assert done.state is TaskState.INTERRUPTED
    assert done.outcome.error is not None
    assert done.outcome.error.code == "spawner_killed"
    assert not any(is_alive(pid) for pid in found)
    assert (await engines.wait(second)).outcome.stdout.text == "second\n"


async def test_an_idempotent_task_is_tried_again_as_often_as_allowed_and_then_interrupted(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open()
    ran = tmp_path / "ran"
    task_id = await engine.submit(bash(f"echo $$ >> {ran}; sleep 600", idempotent=True))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        await until("the next run", lambda count=attempt: ran.exists() and len(ran.read_text().split()) == count)  # type: ignore[misc]
        engines.kill_spawner()
    done = await engines.wait(task_id)
    assert done.state is TaskState.INTERRUPTED
    assert len(ran.read_text().split()) == MAX_ATTEMPTS
    assert engines.states(task_id) == ["running"] * MAX_ATTEMPTS + ["interrupted"]
    assert not any(is_alive(int(pid)) for pid in ran.read_text().split())


async def test_a_cancelled_task_whose_spawner_is_killed_is_cancelled_and_not_tried_again(
    engines: Engines, tmp_path: Path
) -> None:
    await engines.open()
    started = tmp_path / "pid"
    await engines.apply(run_command("a", f"trap '' TERM; echo $$ > {started}; sleep 600", idempotent=True))
    await until("a start", lambda: number_in(started))
    await engines.apply(cancel_command("a"), from_seq=2)
    engines.kill_spawner()
    assert (await engines.wait("a")).state is TaskState.CANCELLED
    assert engines.states("a") == ["running", "cancelled"]


async def test_what_becomes_durable_while_the_spawner_is_replaced_starts_once_and_only_then(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def wait_at_gate(statements: commits.Statements) -> None:
        if ADD_TASK in statements:
            gate.wait(LIMIT_S)

    monkeypatch.setattr(journal, "_open_checked", commits.wrapped(commits.real_open(), wait_at_gate, commits.nothing))
    monkeypatch.setattr(writer, "QUICK_S", 0.0)  # as where the disk is slow: no commit holds up the loop
    engine = await engines.open()
    ran = tmp_path / "ran"
    engines.kill_spawner()
    await until("the loss", lambda: engine.executor.spawner is None)
    submitting = [asyncio.create_task(engine.submit(bash(f"echo >> {ran}; sleep 0.1"))) for _ in range(2)]
    try:
        await until("another spawner", lambda: engine.executor.spawner)
        # One that is started later and ends: an order before it would have been carried out by now.
        other_task = await asyncio.create_subprocess_exec("/bin/bash", "-c", "sleep 0.1")
        await other_task.wait()
        assert not ran.exists()
    finally:
        gate.set()
    for submitted in submitting:
        done = await engines.wait(await submitted)
        assert done.state is TaskState.SUCCEEDED, done.outcome.error
    assert ran.read_text() == "\n\n"


async def test_a_spawner_that_dies_right_after_its_hello_is_replaced(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Spawner.start_or_adopt
    killed: list[int] = []

    async def start_and_lose(folder: Path, **named: object) -> Spawner:
        spawner = await real(folder, **named)  # type: ignore[arg-type]
        if len(killed) < 2:
            killed.append(spawner.pid)
            os.kill(spawner.pid, signal.SIGKILL)
            await until("the loss", lambda: spawner._transport is None)
        return spawner

    monkeypatch.setattr(Spawner, "start_or_adopt", start_and_lose)
    await engines.open()
    assert (await engines.run("echo on")).outcome.stdout.text == "on\n"
    assert len(killed) == 2


# What nobody owns


async def test_a_folder_that_goes_while_the_start_clears_up_is_no_failure(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose task ends just then: it is taken in for the next."""
    await engines.open()
    await engines.close()
    attempts = engines.path / "attempts"
    for name in ("gone-1.1", "gone-2.1", "gone-3.1"):
        (attempts / name).mkdir()
        record = {"pid": 1, "start_time": 1, "boot_id": spawn.boot_id(), "stamp": 0, "key": name}
        records.write_record(str(attempts / name), "started", record)
    real = spawn.kill_leftovers

    def take_the_rest(started: Path, key: str, spare_pid: int = 0) -> int:
        for folder in attempts.iterdir():
            if folder.name != key:
                shutil.rmtree(folder)
        return real(started, key, spare_pid)

    monkeypatch.setattr(spawn, "kill_leftovers", take_the_rest)
    await engines.open()
    assert (await engines.run("echo on")).outcome.stdout.text == "on\n"


async def test_folders_and_processes_that_no_task_owns_are_gone_after_the_start(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open()
    started = tmp_path / "pid"
    task_id = await engine.submit(bash(f"echo $$ > {started}; sleep 600"))
    pid = await until("a start", lambda: number_in(started))
    await engines.close()
    engines.write("DELETE FROM tasks WHERE id = ?", task_id)
    stray = engines.path / "attempts" / "left-behind.1"
    (stray / "deep").mkdir(parents=True)
    (stray / "deep" / "file").write_text("x")
    await engines.open()
    await until_gone(pid)
    await until("an empty folder", lambda: not list((engines.path / "attempts").iterdir()))


async def test_leftovers_of_an_unknown_attempt_whose_spawner_is_gone_are_killed(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open()
    started = tmp_path / "pid"
    await engine.submit(bash(f"echo $$ > {started}; sleep 600"))
    pid = await until("a start", lambda: number_in(started))
    await engines.close()
    await until_gone(engines.kill_spawner())
    engines.write("DELETE FROM tasks")
    await engines.open()
    assert not is_alive(pid)
    assert records.LOCK_NAME == "spawner.lock"
    assert spawn.boot_id() == engine.executor.boot_id


@pytest.mark.parametrize("error", [SpawnerError("it did not start", "look"), OSError(24, "too many open files")])
async def test_a_spawner_that_cannot_be_had_is_tried_again(
    engines: Engines, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await engines.open()
    real = Spawner.start_or_adopt
    failures = [error]

    async def fail_once(folder: Path, **named: object) -> Spawner:
        if failures:
            raise failures.pop()
        return await real(folder, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Spawner, "start_or_adopt", fail_once)
    monkeypatch.setattr(recovery, "RETRY_S", 0.05)
    engines.kill_spawner()
    await until("the failure", lambda: not failures)
    assert (await engines.run("echo on")).outcome.stdout.text == "on\n"

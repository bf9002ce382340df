"""The executor with real journal, spawner and bash: how tasks start and how they end."""

import asyncio
import os
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from appliance import executor as module, journal
from appliance.errors import TaskRefused
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import Outcome
from cloudsync.task import TaskState
from tests.unit.appliance import commits
from tests.unit.appliance.engines import (
    LIMIT_S,
    Engines,
    bash,
    cancel_command,
    is_alive,
    number_in,
    run_command,
    until,
    until_gone,
)
from tests.unit.appliance.trees import TREES, Sleepers, Tree


def code(outcome: Outcome) -> str:
    return outcome.error.code if outcome.error is not None else ""


# What a task is given and what it gives


async def test_a_task_runs_and_its_outcome_has_all_of_it(engines: Engines) -> None:
    await engines.open()
    done = await engines.run("echo out; echo err >&2; exit 7")
    outcome = done.outcome
    assert (done.state, outcome.exit_code) == (TaskState.FAILED, 7)
    assert (outcome.stdout.text, outcome.stderr.text) == ("out\n", "err\n")
    assert outcome.error is None
    assert outcome.usage is not None
    assert outcome.accepted_at_ms is not None
    assert outcome.started_at_ms is not None
    assert outcome.ended_at_ms is not None
    assert outcome.accepted_at_ms <= outcome.started_at_ms <= outcome.ended_at_ms
    assert engines.states(done.task_id) == ["running", "failed"]
    await until("the attempt's folder to go", lambda: not list((engines.path / "attempts").iterdir()))


async def test_exit_zero_is_success_and_a_signal_is_128_and_its_number(engines: Engines) -> None:
    await engines.open()
    assert (await engines.run(":")).state is TaskState.SUCCEEDED
    done = await engines.run("kill -SEGV $$")
    assert (done.state, done.outcome.exit_code) == (TaskState.FAILED, 139)


async def test_a_task_has_its_input_environment_and_folder(engines: Engines, tmp_path: Path) -> None:
    await engines.open()
    text = "line\n" * 250_000  # 1.2 MB would not pass as an entry; half of its limit does
    script = 'wc -c; echo "$GREETING $OPERIS_TASK_ID"; pwd; echo $LANG; echo "$0 $#"'
    done = await engines.run(script, stdin=text[: ENTRY_LIMIT_BYTES // 2], env={"GREETING": "hallo"}, cwd=str(tmp_path))
    size, greeting, folder, lang, arguments = done.outcome.stdout.text.splitlines()
    assert int(size) == ENTRY_LIMIT_BYTES // 2
    assert greeting == f"hallo {done.task_id}"
    assert folder == str(tmp_path)
    assert (lang, arguments) == ("C.UTF-8", "/bin/bash 0")


async def test_a_script_too_long_for_one_argument_runs_as_it_is(engines: Engines) -> None:
    await engines.open()
    long = f"# {'ä' * 70_000}\necho \"$0 $#\" '\\n'; exit 3"
    done = await engines.run(long)
    assert (done.outcome.exit_code, done.outcome.stdout.text) == (3, "/bin/bash 0 \\n\n")


async def test_a_task_that_cannot_start_fails_with_the_reason(engines: Engines) -> None:
    await engines.open()
    done = await engines.run("echo never", cwd="/no/such/folder")
    assert (done.state, done.outcome.exit_code, code(done.outcome)) == (TaskState.FAILED, None, "spawn_failed")
    assert done.outcome.error is not None
    assert "/no/such/folder does not exist" in done.outcome.error.message
    assert (await engines.run("echo again")).outcome.stdout.text == "again\n"


async def test_a_task_that_writes_without_end_keeps_little_of_the_disk(engines: Engines) -> None:
    limit = 1024 * 1024
    engine = await engines.open(spool_limit_bytes=limit)
    gate = engines.path / "gate"
    os.mkfifo(gate)
    script = f"echo first; head -c 40000000 /dev/zero; echo last; read -r _ < {gate}"
    task_id = await engine.submit(bash(script))
    spool = engines.path / "attempts" / f"{task_id}.1" / "stdout"
    total = 40_000_000 + len("first\nlast\n")
    await until("the output", lambda: spool.exists() and spool.stat().st_size == total)
    await until("a hole", lambda: spool.stat().st_blocks * 512 <= limit + 2 * 4096)
    await asyncio.to_thread(gate.write_text, "go\n")
    out = (await engines.wait(task_id)).outcome.stdout
    assert out.total_bytes == total
    assert out.data().startswith(b"first\n\0")
    assert out.data().endswith(b"\0last\n")


# Slots


async def test_no_more_run_at_once_than_allowed_and_all_run_in_order(engines: Engines, tmp_path: Path) -> None:
    engine = await engines.open(concurrency=2)
    log = tmp_path / "log"
    ids = [await engine.submit(bash(f"echo + >> {log}; echo {n}; sleep 0.02; echo - >> {log}")) for n in range(8)]
    for n, task_id in enumerate(ids):
        assert (await engines.wait(task_id)).outcome.stdout.text == f"{n}\n"
    level = highest = 0
    for sign in log.read_text().split():
        level += 1 if sign == "+" else -1
        highest = max(highest, level)
    assert highest == 2
    assert engines.states(ids[-1]) == ["accepted", "running", "succeeded"]


async def test_a_thousand_tasks_eight_at_a_time_each_run_once(engines: Engines, tmp_path: Path) -> None:
    engine = await engines.open()
    log = tmp_path / "ran"

    async def one() -> str:
        return (await engines.wait(await engine.submit(bash(f"echo $OPERIS_TASK_ID >> {log}")))).task_id

    ids: list[str] = []
    for _ in range(10):
        ids += await asyncio.gather(*(one() for _ in range(100)))
    assert sorted(log.read_text().split()) == sorted(ids)
    assert engines.rows("SELECT state, count(*) FROM tasks GROUP BY state") == [("succeeded", 1000)]
    assert (
        engines.rows("SELECT min(seq), max(seq), count(*) FROM events")[0][1:]
        == engines.rows("SELECT count(*), count(DISTINCT json_extract(body, '$.id')) FROM events")[0]
    )


# Cancelling


async def test_a_cancel_in_the_batch_of_its_run_means_that_it_never_starts(engines: Engines, tmp_path: Path) -> None:
    await engines.open()
    log = tmp_path / "ran"
    await engines.apply(run_command("a", f"echo > {log}"), cancel_command("a"))
    done = await engines.wait("a")
    assert (done.state, done.outcome.exit_code, code(done.outcome)) == (TaskState.CANCELLED, None, "cancelled")
    assert engines.states("a") == ["cancelled"]
    assert engines.rows("SELECT state, attempt FROM tasks") == [("cancelled", 0)]
    assert not log.exists()


async def test_a_waiting_task_is_cancelled_at_once(engines: Engines) -> None:
    await engines.open(concurrency=1)
    await engines.apply(run_command("a", "sleep 600"), run_command("b", "echo b"))
    await engines.apply(cancel_command("b"), from_seq=3)
    assert (await engines.wait("b")).state is TaskState.CANCELLED
    await engines.apply(cancel_command("a"), cancel_command("a"), cancel_command("unknown"), from_seq=4)
    done = await engines.wait("a")
    assert (done.state, done.outcome.exit_code) == (TaskState.CANCELLED, 143)
    await engines.apply(cancel_command("a"), from_seq=7)
    assert engines.states("a") == ["running", "cancelled"]
    assert engines.states("b") == ["accepted", "cancelled"]


async def test_a_cancel_by_somebody_with_a_long_name_is_still_told(engines: Engines) -> None:
    await engines.open()
    await engines.apply(run_command("a", "sleep 600"))
    await engines.apply({"type": "cancel", "task_id": "a", "by": "\x01" * 60_000}, from_seq=2)
    assert (await engines.wait("a")).state is TaskState.CANCELLED


async def test_a_tree_that_ignores_sigterm_is_killed_after_the_grace(
    engines: Engines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    await engines.open()
    pids = [tmp_path / "leader", tmp_path / "child"]
    script = f"trap '' TERM; echo $$ > {pids[0]}; (echo $BASHPID > {pids[1]}; exec sleep 600) & sleep 600"
    await engines.apply(run_command("a", script))
    found = [await until("a pid", lambda path=path: number_in(path)) for path in pids]  # type: ignore[misc]
    await engines.apply(cancel_command("a"), from_seq=2)
    done = await engines.wait("a")
    assert (done.state, done.outcome.exit_code) == (TaskState.CANCELLED, 137)
    for pid in found:
        await until_gone(pid)


# Time


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
async def test_the_whole_tree_of_a_task_is_ended_when_its_time_is_over(
    engines: Engines, tmp_path: Path, tree: Tree
) -> None:
    await engines.open()
    sleepers = Sleepers(tmp_path)
    try:
        running = asyncio.create_task(engines.run(f"{sleepers.script(tree)} sleep 600", timeout_s=0.4))
        pid = await asyncio.to_thread(sleepers.pid)
        done = await running
        assert (done.state, code(done.outcome)) == (TaskState.TIMED_OUT, "timed_out")
        assert done.outcome.error is not None
        assert done.outcome.error.message == "ended after 0.4 s"
        assert not is_alive(pid)
    finally:
        sleepers.close()
    assert done.outcome.started_at_ms is not None
    assert done.outcome.ended_at_ms is not None
    assert 390 <= done.outcome.ended_at_ms - done.outcome.started_at_ms < 5000


async def test_no_signal_is_sent_before_its_reason_is_durable(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got_term = tmp_path / "term"
    seen: list[bool] = []

    def refuse_once(statements: commits.Statements) -> None:
        if journal.INTEND in statements:
            seen.append(got_term.exists())
            if len(seen) == 1:
                raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal, "_open_checked", commits.wrapped(commits.real_open(), refuse_once, commits.nothing))
    await engines.open()
    done = await engines.run(f"trap 'echo > {got_term}; exit 0' TERM; sleep 600 & wait", timeout_s=0.3)
    assert (done.state, done.outcome.exit_code) == (TaskState.TIMED_OUT, 0)
    assert got_term.exists()
    assert seen == [False, False]


# Stopping


async def test_a_stop_ends_tasks_and_says_so(engines: Engines, tmp_path: Path) -> None:
    engine = await engines.open(concurrency=1)
    started = tmp_path / "pid"
    first = await engine.submit(bash(f"echo $$ > {started}; sleep 600", idempotent=True))
    second = await engine.submit(bash("echo later"))
    pid = await until("the task", lambda: number_in(started))
    waiting = asyncio.create_task(engine.wait(first))
    async with asyncio.timeout(LIMIT_S):
        await engine.end_tasks()
        done = await waiting
    assert done is not None
    assert (done.state, code(done.outcome)) == (TaskState.INTERRUPTED, "stopped")
    assert not is_alive(pid)
    with pytest.raises(TaskRefused, match="stopped"):
        await engine.submit(bash("echo"))
    await engines.close()
    await engines.open()
    assert (await engines.wait(second)).outcome.stdout.text == "later\n"

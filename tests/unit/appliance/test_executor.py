"""The executor with real journal, spawner and bash: what a command leads to, and how tasks end."""

import asyncio
import base64
import os
import resource
import uuid
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
    spawner_pid,
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


async def test_output_that_is_no_utf8_comes_back_byte_for_byte(engines: Engines) -> None:
    await engines.open()
    data = bytes(range(256)) * 8
    done = await engines.run(f"echo {base64.b64encode(data).decode()} | base64 -d; printf 'a\\0b' >&2")
    assert done.outcome.stdout.data() == data
    assert done.outcome.stderr.data() == b"a\0b"
    assert "\ufffd" in done.outcome.stdout.text


@pytest.mark.parametrize(
    ("script", "total"),
    [
        ("head -c 3000000 /dev/zero", 3_000_000),  # each byte takes six when encoded
        ("head -c 3000000 /dev/zero | tr '\\0' '\\377'", 3_000_000),  # none is UTF-8: base64 beside the text
        ("yes $'\"quoted\"\\t\\\\' | head -c 3000000", 3_000_000),
        ("yes öäü€ | head -c 3000000", 3_000_000),
        ("head -c 261000 /dev/zero | tr '\\0' a; head -c 261000 /dev/zero | tr '\\0' b >&2", 261_000),
    ],
)
async def test_an_outcome_keeps_head_and_tail_within_the_limit_of_an_entry(
    engines: Engines, script: str, total: int
) -> None:
    await engines.open()
    done = await engines.run(script)
    assert done.state is TaskState.SUCCEEDED
    out = done.outcome.stdout
    assert out.total_bytes == total
    assert "bytes left out …]\n".encode() in out.data()
    ((body,),) = engines.rows("SELECT body FROM events ORDER BY seq DESC LIMIT 1")
    assert len(body.encode()) <= ENTRY_LIMIT_BYTES
    assert len(body.encode()) > ENTRY_LIMIT_BYTES * 0.97
    kept = engines.path / "kept" / f"{done.task_id}.1" / "stdout"
    assert kept.stat().st_size == total


async def test_output_that_fits_exactly_is_not_cut(engines: Engines) -> None:
    await engines.open()
    room = ENTRY_LIMIT_BYTES - 1024
    done = await engines.run(f"head -c {room} /dev/zero | tr '\\0' a")
    assert done.outcome.stdout.cut_bytes == 0
    assert len(done.outcome.stdout.text) == room
    assert list((engines.path / "kept").iterdir()) == []


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


# Commands


async def test_a_batch_of_commands_is_one_commit_with_its_cursor(engines: Engines) -> None:
    engine = await engines.open(concurrency=1)
    commits = engine.journal.commits
    await engines.apply(run_command("a", "echo a"), run_command("b", "echo b"), from_seq=1)
    assert engine.journal.commits == commits + 1
    assert engines.rows("SELECT value FROM meta WHERE name = 'command_seq'") == [(2,)]
    assert (await engines.wait("a")).outcome.stdout.text == "a\n"
    assert (await engines.wait("b")).outcome.stdout.text == "b\n"
    assert engines.states("b") == ["accepted", "running", "succeeded"]


async def test_a_command_that_comes_again_does_nothing(engines: Engines, tmp_path: Path) -> None:
    await engines.open()
    log = tmp_path / "ran"
    command = run_command("a", f"echo once >> {log}")
    await engines.apply(command, command)
    await engines.wait("a")
    await engines.apply(command, from_seq=3)
    await engines.close()
    await engines.open()
    await engines.apply(command, from_seq=4)
    assert log.read_text() == "once\n"
    assert engines.states("a") == ["running", "succeeded"]


@pytest.mark.parametrize(
    ("entry", "state", "error"),
    [
        (run_command("t", "echo", remaining_s=0), "expired", "expired"),
        (run_command("t", "echo", remaining_s=-5), "expired", "expired"),
        ({**run_command("t", ""), "spec": {"kind": "dance.tango"}}, "rejected", "unknown_kind"),
        ({**run_command("t", ""), "spec": {"kind": "\U000e0001" * 60_000}}, "rejected", "unknown_kind"),
        ({**run_command("t", ""), "spec": {}}, "rejected", "unknown_kind"),
        (run_command("t", "echo", surprise=1), "rejected", "invalid_spec"),
        (run_command("t", "echo", timeout_s="soon"), "rejected", "invalid_spec"),
        (run_command("t", "echo", env={f"{n}{chr(1) * 80_000}": "x" for n in range(3)}), "rejected", "invalid_spec"),
        (run_command("t", "", **{"\x01" * 200_000: 1}), "rejected", "invalid_spec"),
        ({"type": "run", "task_id": "t"}, "rejected", "not_understood"),
        ({"type": "run", "task_id": "t", "spec": 5, "remaining_s": "x" * 250_000}, "rejected", "not_understood"),
    ],
)
async def test_a_command_that_cannot_be_done_is_answered(
    engines: Engines, entry: object, state: str, error: str
) -> None:
    await engines.open()
    await engines.apply(entry, run_command("next", "echo next"))
    assert engines.states("t") == [state]
    ((found, hint, size),) = engines.rows(
        "SELECT json_extract(body, '$.outcome.error.code'), json_extract(body, '$.outcome.error.hint'), length(body)"
        " FROM events WHERE json_extract(body, '$.task_id') = 't'"
    )
    assert found == error
    assert hint
    assert size < 16_384
    assert (await engines.wait("next")).state is TaskState.SUCCEEDED


@pytest.mark.parametrize(
    "entry",
    [
        None,
        17,
        "run",
        [],
        {},
        {"type": "dance"},
        {"type": "x" * 250_000},
        {"type": "cancel"},
        run_command("../../etc", "echo"),
        run_command("x" * 129, "echo"),
        cancel_command("a b"),
    ],
)
async def test_a_command_that_names_no_task_is_flagged_and_passed_over(engines: Engines, entry: object) -> None:
    await engines.open()
    await engines.apply(entry, run_command("next", "echo next"), from_seq=4)
    ((kind, seq, size),) = engines.rows(
        "SELECT json_extract(body, '$.type'), json_extract(body, '$.command_seq'), length(body) FROM events LIMIT 1"
    )
    assert (kind, seq) == ("flagged", 4)
    assert size < 16_384
    assert (await engines.wait("next")).state is TaskState.SUCCEEDED


async def test_an_id_is_never_used_for_another_task(engines: Engines) -> None:
    await engines.open()
    await engines.apply(run_command("a", "echo one"))
    await engines.wait("a")
    await engines.apply(run_command("a", "echo two"), from_seq=2)
    assert engines.states("a") == ["running", "succeeded", "rejected"]
    assert engines.rows("SELECT state FROM tasks") == [("succeeded",)]


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


# Refusals


async def test_a_local_task_too_large_for_an_entry_is_refused_and_leaves_nothing(engines: Engines) -> None:
    engine = await engines.open()
    with pytest.raises(TaskRefused) as caught:
        await engine.submit(bash("#" * ENTRY_LIMIT_BYTES))
    assert caught.value.error.code == "too_large"
    assert engines.rows("SELECT count(*) FROM tasks") == [(0,)]


async def test_with_too_little_space_commands_are_rejected_and_local_tasks_refused(engines: Engines) -> None:
    engine = await engines.open(disk_floor_bytes=1 << 60)
    with pytest.raises(TaskRefused) as caught:
        await engine.submit(bash("echo"))
    assert caught.value.error.code == "disk_full"
    assert caught.value.error.hint
    await engines.apply(run_command("a", "echo"))
    assert engines.states("a") == ["rejected"]
    await engines.apply(run_command("a", "echo"), from_seq=2)
    assert engines.states("a") == ["rejected"]


async def test_a_task_that_waits_for_nothing_known_is_none(engines: Engines) -> None:
    engine = await engines.open()
    assert await engine.wait("unknown") is None


async def test_an_outcome_can_be_asked_for_after_the_end_and_after_a_restart(engines: Engines) -> None:
    await engines.open()
    first = await engines.run("echo kept; exit 4")
    assert (await engines.wait(first.task_id)).outcome == first.outcome
    await engines.close()
    await engines.open()
    assert (await engines.wait(first.task_id)).outcome == first.outcome


async def test_what_a_local_task_is_rides_on_its_first_event(engines: Engines) -> None:
    engine = await engines.open(concurrency=1)
    ids = [await engine.submit(bash("echo"), created_by="ann") for _ in range(2)]
    for task_id in ids:
        await engines.wait(task_id)
        query = "SELECT json_extract(body, '$.made_here.created_by'), json_extract(body, '$.made_here.origin')"
        first, *rest = engines.rows(
            f"{query} FROM events WHERE json_extract(body, '$.task_id') = ? ORDER BY seq", task_id
        )
        assert first == ("ann", "local")
        assert set(rest) == {(None, None)}
    assert len({*ids, uuid.uuid4().hex}) == 3


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


async def test_a_task_that_could_not_start_shows_nothing_of_another_whose_folder_it_got(engines: Engines) -> None:
    await engines.open()
    other = "echo the-secret-of-another; echo the-secret-of-another >&2; sleep 0.1"
    pid = spawner_pid(engines.path)
    assert pid is not None
    fds = Path(f"/proc/{pid}/fd")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    states = []
    for opens in range(4):
        await asyncio.gather(*(engines.run(other) for _ in range(4)))
        await until("free folders", lambda: len(list((engines.path / "pool").iterdir())) >= 4)
        # So many more files may be opened: the folder and its output are prepared step by step.
        used = {int(each.name) for each in fds.iterdir()}
        free = [number for number in range(1024) if number not in used]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[opens], before[1]))
        done = await engines.run("echo mine")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await until("all files closed", lambda: {int(each.name) for each in fds.iterdir()} == used)  # noqa: B023
        assert "secret" not in done.outcome.stdout.text + done.outcome.stderr.text
        states.append(done.state)
    assert states[0] is TaskState.FAILED
    assert states[-1] is TaskState.SUCCEEDED

"""`operis-box exec`: what it hands over, and how it ends."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.unit.appliance.client.conftest import Daemon, Owner
from tests.unit.appliance.engines import LIMIT_S, until


async def test_output_and_exit_are_the_tasks_own(owner: Owner) -> None:
    done = await owner("exec", "--", r"printf 'a\377\000'; echo oh >&2; exit 7")
    assert (done.status, done.out, done.err) == (7, b"a\xff\x00", "oh\n")


async def test_several_words_are_a_command_and_its_arguments(owner: Owner) -> None:
    assert (await owner("exec", "--", "printf", "%s|", "a b", "$HOME", "--")).text == "a b|$HOME|--|"


async def test_flags_become_fields(owner: Owner, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("line\n")
    flags = [
        "--timeout",
        "5",
        "--stdin",
        str(tmp_path / "in"),
        "--cwd",
        str(tmp_path),
        "--env",
        "A=1",
        "--env",
        "B=x=y",
    ]
    done = await owner("exec", *flags, "--idempotent", "--json", "--", "cat; pwd; echo $A $B")
    task = json.loads(done.out)
    assert (task["stdout"], done.err) == (f"line\n{tmp_path}\n1 x=y\n", "")
    spec = {name: task["spec"][name] for name in ("timeout_s", "stdin", "cwd", "env", "idempotent")}
    assert spec == {
        "timeout_s": 5.0,
        "stdin": "line\n",
        "cwd": str(tmp_path),
        "env": {"A": "1", "B": "x=y"},
        "idempotent": True,
    }


async def test_script_or_input_may_come_from_standard_input(owner: Owner) -> None:
    assert (await owner("exec", "-", given=b"echo it; exit 3")).status == 3
    assert (await owner("exec", "--stdin", "-", "--", "cat", given=b"given")).out == b"given"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no command is given"),
        (["--"], "no command is given"),
        (["-", "--stdin", "-"], "cannot be both"),
        (["uptime"], "'uptime' is not understood before --"),
        (["--bogus", "--", "x"], "--bogus"),
        (["--timeout", "soon", "--", "x"], "--timeout"),
        (["--env", "A", "--", "x"], "is not NAME=VALUE"),
        (["--stdin", "/no/such", "--", "x"], "--stdin /no/such cannot be read"),
        (["--timeout", "0", "--env", "1A=b", "--", "x"], "--env 1A: an environment name"),
        (["--cwd", "here", "--", "x"], "--cwd: must be an absolute path"),
    ],
)
async def test_what_cannot_be_is_255_and_makes_no_task(
    owner: Owner, daemon: Daemon, words: list[str], says: str
) -> None:
    done = await owner("exec", *words)
    assert (done.status, done.out) == (255, b"")
    assert says in done.err
    assert done.err.count("\n") == 2
    assert "hint: " in done.err
    assert daemon.engines.rows("SELECT id FROM tasks") == []


async def test_task_that_did_not_end_by_itself_is_told_of(owner: Owner) -> None:
    late = await owner("exec", "--timeout", "0.2", "--", "echo begun; sleep 60")
    assert (late.status, late.out) == (124, b"begun\n")
    assert "timed out: ended after 0.2 s\nhint: " in late.err
    nowhere = await owner("exec", "--cwd", "/no/such", "--", "x")
    assert nowhere.status == 255
    assert "/no/such does not exist" in nowhere.err


async def test_detached_task_is_told_by_its_id(owner: Owner, daemon: Daemon) -> None:
    task_id = (await owner("exec", "--detach", "--", "exit 3")).text.strip()
    assert (await daemon.engines.wait(task_id)).outcome.exit_code == 3


async def test_without_a_daemon_it_is_255_and_says_how_to_start_one(owner: Owner, daemon: Daemon) -> None:
    await daemon.stop()
    done = await owner("exec", "--", "x")
    assert (done.status, done.err.splitlines()[0]) == (255, f"operis-box: no daemon runs in {owner.data}")
    assert f"operis-box run --data {owner.data}" in done.err


async def test_output_comes_as_it_is_written_and_goes_on_after_a_restart(
    owner: Owner, daemon: Daemon, tmp_path: Path
) -> None:
    process = await owner.start(
        "exec", "--", f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two; exit 4"
    )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"one\n"
    await daemon.stop()
    (tmp_path / "go").touch()
    await daemon.start()
    done = await owner.end(process)
    assert (done.status, done.out) == (4, b"two\n")


async def test_long_output_is_whole(owner: Owner) -> None:
    done = await owner("exec", "--", "head -c 3000000 /dev/zero")
    assert (done.status, len(done.out), done.err) == (0, 3_000_000, "")


async def test_ctrl_c_ends_the_task_and_says_so(owner: Owner, daemon: Daemon) -> None:
    process = await owner.start("exec", "--", "echo begun; sleep 60")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    done = await owner.end(process)
    assert done.status == 255
    assert "is being cancelled; Ctrl-C again leaves it" in done.err
    assert "cancelled by" in done.err
    assert daemon.engines.rows("SELECT state FROM tasks") == [("cancelled",)]


async def test_second_ctrl_c_leaves_it(owner: Owner, daemon: Daemon) -> None:
    process = await owner.start("exec", "--", "trap '' TERM; echo begun; while :; do sleep 1; done")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        assert b"is being cancelled" in await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = await owner.end(process)
    assert done.status == 255
    assert "is left to itself" in done.err
    assert "Traceback" not in done.err
    ((task_id,),) = daemon.engines.rows("SELECT id FROM tasks")
    assert f"operis-box task {task_id}" in done.err


async def test_reader_that_leaves_ends_the_command_and_not_the_task(
    owner: Owner, daemon: Daemon, tmp_path: Path
) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    process = await owner.start("exec", "--", f"echo 1; {wait}; head -c 300000 /dev/zero; sleep 60")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"1\n"
    transport = process.stdout._transport  # type: ignore[attr-defined]
    transport.close()
    (tmp_path / "go").touch()
    async with asyncio.timeout(LIMIT_S):
        assert process.stderr is not None
        err = await process.stderr.read()
        assert await process.wait() == 255
    assert b"nobody reads the output any more" in err
    assert b"Traceback" not in err
    assert b"Exception" not in err
    assert daemon.engines.engine is not None
    assert len(daemon.engines.engine.executor.running) == 1


async def test_killed_command_leaves_its_task(owner: Owner, daemon: Daemon) -> None:
    process = await owner.start("exec", "--", "sleep 60")
    engine = daemon.engines.engine
    assert engine is not None
    await until("a follower", lambda: bool(engine.executor.watch._followers))
    process.kill()
    await until("nobody", lambda: not engine.executor.watch._followers)
    assert len(engine.executor.running) == 1


async def test_output_that_cannot_be_written_is_said_and_the_task_goes_on(owner: Owner) -> None:
    command = f"exec {sys.executable} -m appliance.cli exec --data {owner.data} -- 'echo x; sleep 60' >/dev/full"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    owner.started.append(process)
    done = await owner.end(process)
    assert done.status == 255
    assert "the output cannot be written: No space left on device; task" in done.err
    assert done.err.count("\n") == 2

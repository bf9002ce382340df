"""Outcomes of real tasks: what they hold of the output, and who can ask for them."""

import asyncio
import base64
import hashlib
import resource
from pathlib import Path

import pytest

from appliance import outcomes
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import Outcome
from cloudsync.task import TaskState
from tests.unit.appliance.engines import (
    Engines,
    bash,
    spawner_pid,
    until,
)


def code(outcome: Outcome) -> str:
    return outcome.error.code if outcome.error is not None else ""


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
    named = {artifact.name: artifact for artifact in done.outcome.artifacts}
    assert named["stdout.txt"].size_bytes == total
    for artifact in named.values():
        content = (engines.path / "artifacts" / artifact.sha256).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert len(content) == artifact.size_bytes
    head, tail = out.ends()
    whole = (engines.path / "artifacts" / named["stdout.txt"].sha256).read_bytes()
    assert whole.startswith(head)
    assert whole.endswith(tail)
    await until("the end of its folder", lambda: not (engines.path / "attempts" / f"{done.task_id}.1").exists())


async def test_only_the_stream_that_was_cut_is_kept_whole(engines: Engines) -> None:
    await engines.open()
    done = await engines.run("head -c 500000 /dev/zero | tr '\\0' a >&2; echo short")
    assert [one.name for one in done.outcome.artifacts] == ["stderr.txt"]
    assert done.outcome.artifacts[0].media_type == "text/plain; charset=utf-8"
    assert done.outcome.stdout.text == "short\n"


async def test_a_task_ends_also_where_nothing_of_it_can_be_kept(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await engines.open()
    engine.folder.artifacts.rmdir()
    done = await engines.run("head -c 500000 /dev/zero; exit 3")
    assert (done.state, done.outcome.exit_code, done.outcome.artifacts) == (TaskState.FAILED, 3, ())
    assert done.outcome.stdout.cut_bytes > 0
    assert [record for record in caplog.records if record.message == "what a task left is not kept"]


async def test_a_stop_waits_no_longer_than_it_must_and_the_next_start_takes_in_what_is_missing(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "CLOSE_S", 0.0)
    engine = await engines.open()
    task_id = await engine.submit(bash("head -c 60000000 /dev/zero"))
    await until("the taking in", lambda: bool(engine.executor.outcomes.keeping))
    await engines.close()
    assert engines.rows("SELECT state FROM tasks") == [("running",)]
    await engines.open()
    done = await engines.wait(task_id)
    assert done.outcome.artifacts[0].size_bytes == 60_000_000
    assert [path.name for path in (engines.path / "artifacts").iterdir()] == [done.outcome.artifacts[0].sha256]


async def test_a_stop_while_whole_output_is_taken_in_journals_the_outcome_first(engines: Engines) -> None:
    engine = await engines.open()
    task_id = await engine.submit(bash("head -c 20000000 /dev/zero"))
    await until("the taking in", lambda: bool(engine.executor.outcomes.keeping))
    await engines.close()
    states = engines.rows("SELECT t.state, a.state FROM tasks t JOIN artifacts a ON a.task_id = t.id")
    assert states == [("succeeded", "kept")]
    await engines.open()
    assert (await engines.wait(task_id)).outcome.artifacts[0].size_bytes == 20_000_000


async def test_output_that_fits_exactly_is_not_cut(engines: Engines) -> None:
    await engines.open()
    room = ENTRY_LIMIT_BYTES - 1024
    done = await engines.run(f"head -c {room} /dev/zero | tr '\\0' a")
    assert done.outcome.stdout.cut_bytes == 0
    assert len(done.outcome.stdout.text) == room
    assert done.outcome.artifacts == ()
    assert list((engines.path / "artifacts").iterdir()) == []


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


async def test_a_task_that_could_not_start_shows_nothing_of_another_whose_folder_it_got(engines: Engines) -> None:
    await engines.open()
    other = "echo the-secret-of-another; echo the-secret-of-another >&2; sleep 0.1"
    pid = spawner_pid(engines.path)
    assert pid is not None
    fds = Path(f"/proc/{pid}/fd")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    states = []
    for opens in range(4):
        await asyncio.gather(*(engines.run(other, env={"NOT": "prepared"}) for _ in range(4)))
        await until("free folders", lambda: len(list((engines.path / "pool").iterdir())) >= 4)
        # So many more files may be opened: the folder and its output are prepared step by step.
        used = {int(each.name) for each in fds.iterdir()}
        free = [number for number in range(1024) if number not in used]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[opens], before[1]))
        done = await engines.run("echo mine", env={"NOT": "prepared"})
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        await until("all files closed", lambda: {int(each.name) for each in fds.iterdir()} == used)  # noqa: B023
        assert "secret" not in done.outcome.stdout.text + done.outcome.stderr.text
        states.append(done.state)
    assert states[0] is TaskState.FAILED
    assert states[-1] is TaskState.SUCCEEDED

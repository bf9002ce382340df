"""A whole box in one process: opening, beginning anew, and closing."""

import asyncio
import json

import pytest

from appliance.errors import FolderBusy, FolderUnusable
from cloudsync.task import TaskState
from tests.unit.appliance.engines import LIMIT_S, Engines, bash, is_alive, number_in, run_command, until


async def test_a_folder_has_one_engine_at_a_time(engines: Engines) -> None:
    await engines.open()
    first = engines.engine
    with pytest.raises(FolderBusy):
        await Engines(engines.path).open()
    engines.engine = first
    assert (await engines.run("echo")).state is TaskState.SUCCEEDED
    await engines.close()
    await engines.open()


async def test_a_key_that_is_gone_is_not_replaced_once_the_box_is_enrolled(engines: Engines) -> None:
    engine = await engines.open()
    engine.enrolment.enrolled("box-1", "hub", "acme").save(engine.folder.enrolment)
    await engines.close()
    (engines.path / "identity.key").unlink()
    with pytest.raises(FolderUnusable, match="is missing") as caught:
        await engines.open()
    assert "enrol the box again" in caught.value.hint
    assert not (engines.path / "identity.key").exists()


async def test_a_new_incarnation_ends_what_runs_interrupts_what_waits_and_counts_from_one(
    engines: Engines, tmp_path: object
) -> None:
    engine = await engines.open(concurrency=1)
    for _ in range(3):
        await engines.run("echo")
    engine.outbox.ack(4)
    engine.journal.prune(2**42, 4, 7)
    await engine.journal.committed([])
    pid_file = engines.path / "pid"
    script = f"trap '' TERM; echo $$ > {pid_file}; while :; do sleep 600; done"
    await engines.apply(run_command("running", script, idempotent=True), run_command("waiting", "echo"))
    local = await engine.submit(bash("echo local"))
    pid = await until("a start", lambda: number_in(pid_file))
    before = engine.incarnation
    ids = [each for (each,) in engines.rows("SELECT json_extract(body, '$.id') FROM events ORDER BY seq")]

    async with asyncio.timeout(LIMIT_S):
        await engine.begin_anew()
    assert not is_alive(pid)
    assert engine.incarnation != before
    rows = engines.rows("SELECT seq, body FROM events ORDER BY seq")
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert engine.outbox.head == engine.journal.head == len(rows)
    assert (engine.outbox.acked, engine.outbox.unsynced) == (0, len(rows))
    bodies = [json.loads(body) for _, body in rows]
    assert [body["id"] for body in bodies][: len(ids)] == ids
    for task_id in ("running", "waiting", local):
        done = await engines.wait(task_id)
        assert done.state is TaskState.INTERRUPTED
        assert done.outcome.error is not None
        assert done.outcome.error.code == "incarnation_ended"
    assert (await engines.run("echo on")).state is TaskState.SUCCEEDED
    await engines.close()
    facts = (await engines.open()).journal.facts
    assert facts.incarnation == engine.incarnation
    assert (facts.last, facts.command_seq, facts.acked_event_seq) == (0, 0, 0)
    assert facts.event_seq == engine.outbox.head
    assert (await engines.wait("running")).state is TaskState.INTERRUPTED


async def test_what_is_submitted_while_a_new_incarnation_begins_runs_in_it(engines: Engines) -> None:
    engine = await engines.open()
    await engines.run("echo")
    beginning = asyncio.create_task(engine.begin_anew())
    submitted = [asyncio.create_task(engine.submit(bash("echo mine"))) for _ in range(4)]
    await beginning
    for each in submitted:
        assert (await engines.wait(await each)).state in {TaskState.SUCCEEDED, TaskState.INTERRUPTED}
    rows = engines.rows("SELECT seq FROM events ORDER BY seq")
    assert [seq for (seq,) in rows] == list(range(1, engine.outbox.head + 1))


async def test_hub_work_is_held_over_a_restart_and_done_when_it_is_let_go(engines: Engines) -> None:
    engine = await engines.open()
    await engine.hold_hub_work(True)
    await engines.apply(run_command("a", "echo a"), run_command("b", "echo b"))
    assert (await engines.run("echo local")).state is TaskState.SUCCEEDED
    await engines.close()
    engine = await engines.open()
    assert engines.states("a") == ["accepted"]
    await engine.hold_hub_work(False)
    assert (await engines.wait("a")).outcome.stdout.text == "a\n"
    assert (await engines.wait("b")).outcome.stdout.text == "b\n"


async def test_an_engine_that_cannot_open_leaves_the_folder_to_the_next(engines: Engines) -> None:
    await engines.open()
    await engines.close()
    key = engines.path / "identity.key"
    raw = key.read_bytes()
    key.write_bytes(b"short")
    with pytest.raises(FolderUnusable, match="is damaged"):
        await engines.open()
    key.write_bytes(raw)
    await engines.open()
    assert (await engines.run("echo")).state is TaskState.SUCCEEDED

"""The intake with a real journal: what a command leads to, and what is refused."""

import uuid
from pathlib import Path

import pytest

from appliance.errors import TaskRefused
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import Outcome
from cloudsync.task import TaskState
from tests.unit.appliance.engines import (
    Engines,
    bash,
    cancel_command,
    run_command,
)


def code(outcome: Outcome) -> str:
    return outcome.error.code if outcome.error is not None else ""


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

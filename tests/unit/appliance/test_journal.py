"""The journal on a real disk: what it refuses, what it replaces, and what it remembers."""

import json
import os
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from appliance import journal as module
from appliance.errors import FolderNewer, FolderUnusable, SqliteUnsafe
from appliance.live import now_ms
from cloudsync.task import TaskState
from tests.unit.appliance.engines import Engines, bash, run_command

DAY_MS = module.DAY_MS


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 40, 1), (3, 46, 1), (3, 51, 2)])
def test_an_sqlite_that_corrupts_is_refused_with_what_to_install(version: tuple[int, ...]) -> None:
    with pytest.raises(SqliteUnsafe, match=".".join(map(str, version))) as caught:
        module.check_sqlite(version)
    assert "pysqlite3" in caught.value.hint


def test_the_sqlite_that_is_installed_is_safe() -> None:
    assert sqlite3.sqlite_version_info >= (3, 51, 3)
    module.check_sqlite()
    module.check_sqlite((3, 51, 3))


async def test_commits_are_synced_and_the_file_is_private(engines: Engines) -> None:
    engine = await engines.open()
    writing = engine.journal._writer._connection
    assert writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writing.execute("PRAGMA synchronous").fetchone() == (2,)
    for name in ("journal.db", "identity.key", "lock", "format", "reserve"):
        assert (engines.path / name).stat().st_mode & 0o777 == 0o600
    for name in (".", "attempts", "artifacts"):
        assert (engines.path / name).stat().st_mode & 0o777 == 0o700


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)


def damage_schema(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA user_version = 0")
    connection.close()


def damage_facts(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM meta WHERE name <> 'box_key'")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database at all" * 1000),
        damage_middle,
        damage_schema,
        damage_facts,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
    ],
    ids=["no database", "pages", "no version", "facts", "missing", "empty"],
)
async def test_a_damaged_or_missing_journal_is_replaced_and_a_new_incarnation_begins(
    engines: Engines, damage: object
) -> None:
    engine = await engines.open()
    await engines.apply(run_command("a", "echo a"))
    await engines.wait("a")
    before = engine.incarnation
    await engines.close()
    was_there = (engines.path / "journal.db").read_bytes()
    assert callable(damage)
    damage(engines.path / "journal.db")
    engine = await engines.open()
    assert engine.journal.damaged is not None
    assert engine.incarnation != before
    facts = engine.journal.facts
    assert (facts.session, facts.last, facts.command_seq, facts.event_seq, facts.acked_event_seq) == (0, 0, 0, 0, 0)
    assert (await engines.run("echo on")).state is TaskState.SUCCEEDED
    await engines.close()
    engine = await engines.open()
    assert engine.journal.damaged is None
    aside = list(engines.path.glob("journal.damaged-*"))
    assert was_there
    assert len(aside) <= 1


async def test_what_ran_when_the_journal_was_lost_is_ended(engines: Engines, tmp_path: Path) -> None:
    from tests.unit.appliance.engines import bash, number_in, until, until_gone

    engine = await engines.open()
    started = tmp_path / "pid"
    await engine.submit(bash(f"echo $$ > {started}; sleep 600"))
    pid = await until("a start", lambda: number_in(started))
    await engines.close()
    (engines.path / "journal.db").unlink()
    await engines.open()
    await until_gone(pid)


async def test_the_journal_of_a_newer_version_is_refused_and_left_as_it_is(engines: Engines) -> None:
    await engines.open()
    await engines.close()
    engines.write(f"PRAGMA user_version = {module.VERSION + 1}")
    with pytest.raises(FolderNewer, match="newer version") as caught:
        await engines.open()
    assert caught.value.hint
    assert engines.rows("PRAGMA user_version") == [(module.VERSION + 1,)]
    assert not list(engines.path.glob("journal.damaged-*"))


async def test_the_journal_of_an_older_version_is_brought_up_and_keeps_what_it_holds(engines: Engines) -> None:
    await engines.open()
    task_id = (await engines.run("echo kept")).task_id
    await engines.close()
    schema = engines.rows("SELECT sql FROM sqlite_schema ORDER BY name")
    engines.write("DROP TABLE steps")
    engines.write("DROP TABLE artifacts")
    engines.write("DELETE FROM _sqlite_migrations WHERE name <> '0001_tables'")
    engines.write("PRAGMA user_version = 1")
    await engines.open()
    assert (await engines.wait(task_id)).outcome.stdout.text == "kept\n"
    assert engines.rows("PRAGMA user_version") == [(module.VERSION,)]
    assert engines.rows("SELECT sql FROM sqlite_schema ORDER BY name") == schema


async def test_the_journal_of_another_box_is_refused_and_left_as_it_is(engines: Engines, tmp_path: Path) -> None:
    await engines.open()
    await engines.end()
    strange = (engines.path / "journal.db").read_bytes()
    await engines.open(tmp_path / "second")
    await engines.end()
    (engines.path / "journal.db").write_bytes(strange)
    with pytest.raises(FolderUnusable, match="another box") as caught:
        await engines.open()
    assert caught.value.hint
    assert (engines.path / "journal.db").read_bytes() == strange


async def test_old_finished_and_acked_things_are_forgotten_and_their_ids_are_not(engines: Engines) -> None:
    engine = await engines.open()
    await engines.apply(run_command("old", "echo old"), run_command("unacked", "echo unacked"))
    await engines.wait("old")
    await engines.wait("unacked")
    later = now_ms() + 8 * DAY_MS
    head = engine.outbox.head
    assert engine.journal.prune(later, 0, 7) == 0
    assert engine.journal.prune(now_ms(), head, 7) == 0
    await engine.journal.committed([])
    assert engines.rows("SELECT count(*) FROM events") == [(head,)]
    assert engine.journal.prune(later, head, 7) == 1
    await engine.journal.committed([])
    # The newest stays: the next is numbered after it.
    assert engines.rows("SELECT id FROM tasks") == [("unacked",)]
    # So does this one, to be compared with the ledger's.
    assert engines.rows("SELECT seq FROM events") == [(head,)]
    await engines.apply(run_command("old", "echo old"), from_seq=3)
    assert engines.rows("SELECT id FROM tasks") == [("unacked",)]
    await engines.apply(run_command("old", "echo another"), from_seq=4)
    assert engines.states("old")[-1:] == ["rejected"]
    await engines.close()
    engine = await engines.open()
    assert engine.outbox.head == head + 1
    engine.journal.prune(later + 61 * DAY_MS, head, 7)
    await engine.journal.committed([])
    assert engines.rows("SELECT count(*) FROM tombstones") == [(0,)]


async def test_only_the_tasks_from_the_oldest_unfinished_one_on_are_looked_at_and_none_is_missed(
    engines: Engines, tmp_path: Path
) -> None:
    engine = await engines.open()
    open_from = "SELECT value FROM meta WHERE name = 'open_from'"
    for _ in range(3):
        await engines.run("true")
    os.mkfifo(tmp_path / "go")
    long = await engine.submit(bash(f"read -r _ < {tmp_path}/go"))
    for _ in range(3):
        await engines.run("true")
    engine.prune()
    await engine.journal.committed([])
    assert engines.rows(open_from) == [(4,)]
    await engines.close()
    engine = await engines.open()
    assert list(engine.executor.tasks) == [long]
    (tmp_path / "go").write_text("go\n")
    assert (await engines.wait(long)).state is TaskState.SUCCEEDED
    engine.prune()
    await engine.journal.committed([])
    assert engines.rows(open_from) == [(8,)]
    assert engines.rows("SELECT max(n) FROM tasks") == [(7,)]
    later = await engine.submit(bash("sleep 600"))
    await engines.close()
    engine = await engines.open()
    assert list(engine.executor.tasks) == [later]


async def test_the_look_for_the_oldest_unfinished_task_is_bounded_and_goes_on(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await engines.open()
    monkeypatch.setattr(module, "OPEN_LOOK_ROWS", 2)
    for _ in range(5):
        await engines.run("true")
    seen = []
    for _ in range(3):
        engine.prune()
        await engine.journal.committed([])
        seen += engines.rows("SELECT value FROM meta WHERE name = 'open_from'")
    assert seen == [(4,), (6,), (6,)]


async def test_a_task_whose_end_is_not_acked_is_kept_however_old_it_is(engines: Engines) -> None:
    engine = await engines.open()
    first = await engines.run("echo")
    acked = engine.outbox.head
    second = await engines.run("echo")
    engine.journal.prune(now_ms() + 30 * DAY_MS, acked, 7)
    await engine.journal.committed([])
    assert engines.rows("SELECT id FROM tasks") == [(second.task_id,)]
    assert (await engines.wait(second.task_id)).state is TaskState.SUCCEEDED
    assert first.task_id != second.task_id
    assert engines.rows("SELECT min(seq) FROM events") == [(acked + 1,)] or engines.rows(
        "SELECT min(seq) FROM events"
    ) == [(acked,)]


async def test_tasks_are_listed_newest_first_in_pages(engines: Engines) -> None:
    engine = await engines.open()
    ids = [(await engines.run(f"exit {number % 2}")).task_id for number in range(5)]
    first, has_more = engine.journal.tasks({}, 2)
    assert ([row["id"] for row in first], has_more) == (ids[:2:-1], True)
    rest, has_more = engine.journal.tasks({}, 3, first[-1]["n"])
    assert ([row["id"] for row in rest], has_more) == (ids[2::-1], False)
    failed, _ = engine.journal.tasks({"state": "failed", "kind": "bash.exec", "origin": "local", "created_by": ""}, 9)
    assert [row["id"] for row in failed] == [ids[3], ids[1]]
    for none in ({"state": "running"}, {"kind": "browser.run"}, {"origin": "hub"}, {"created_by": "root"}):
        assert engine.journal.tasks(none, 9) == ([], False)


async def test_a_page_of_long_outputs_ends_early(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_BYTES", 10_000)
    engine = await engines.open()
    ids = [(await engines.run("head -c 6000 /dev/zero | tr '\\0' x")).task_id for _ in range(3)]
    rows, has_more = engine.journal.tasks({}, 100)
    assert ([row["id"] for row in rows], has_more) == (ids[:0:-1], True)


async def test_a_task_is_found_with_what_came_of_it(engines: Engines) -> None:
    engine = await engines.open()
    task_id = (await engines.run("echo hi")).task_id
    row = engine.journal.task(task_id)
    assert row is not None
    assert (row["state"], json.loads(row["outcome"])["stdout"]["text"]) == ("succeeded", "hi\n")
    assert engine.journal.task("nobody") is None

"""The journal's schema: it is made in steps, each with the record that it ran, or not at all."""

from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from appliance import migrations

FACTS = (("box_key", "k"), ("session", 0))


def test_an_empty_file_becomes_todays_schema_with_its_facts_and_the_record(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrations.migrate(connection, FACTS)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables >= {"meta", "tasks", "events", "tombstones", "steps", "artifacts"}
    assert connection.execute("SELECT name, value FROM meta ORDER BY name").fetchall() == [*FACTS]
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
    names = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY name")]
    assert names[0] == "0001_tables"
    assert len(names) == migrations.VERSION
    assert not connection.in_transaction


def test_a_step_that_ran_does_not_run_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    migrations.migrate(connection, FACTS)
    connection.execute("INSERT INTO meta (name, value) VALUES ('last', 5)")
    migrations.migrate(connection, FACTS)
    assert connection.execute("SELECT value FROM meta WHERE name = 'last'").fetchone() == (5,)


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError):
        migrations.migrate(connection, (*FACTS, FACTS[0]))
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'tasks'").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    migrations.migrate(connection, FACTS)
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)


def test_a_journal_of_the_first_version_ends_at_todays_schema_and_keeps_its_rows(tmp_path: Path) -> None:
    old, new = (sqlite3.connect(tmp_path / name, isolation_level=None) for name in ("old.db", "new.db"))
    migrations.migrate(new, FACTS)
    migrations.migrate(old, FACTS)
    old.executescript(
        "DROP TABLE artifacts; DROP TABLE steps; PRAGMA user_version = 1;"
        "DELETE FROM _sqlite_migrations WHERE name > '0001z'"
    )
    migrations.migrate(old, ())
    shapes = [
        dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall())
        for connection in (old, new)
    ]
    assert shapes[0] == shapes[1]
    assert old.execute("SELECT name, value FROM meta ORDER BY name").fetchall() == [*FACTS]
    assert old.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)

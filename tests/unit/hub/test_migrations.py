"""The hub's schema: made in steps, each with the record that it ran, and all of them or none."""

import threading
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from hub import migrations
from hub.store import Connection, connect, open_database

FIRST = Path(migrations.__file__).with_name("schema.sql")


def shape(connection: Connection) -> dict[str, str]:
    """The statements that made what is there, by name."""
    return {row[0]: row[1] for row in connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")}


def steps(connection: Connection) -> list[str]:
    """The steps that are recorded."""
    return [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY name")]


def test_an_empty_file_becomes_todays_schema_with_the_record(tmp_path: Path) -> None:
    connection = connect(tmp_path / "hub.db")
    migrations.migrate(connection)
    assert len(steps(connection)) == migrations.version(connection) == migrations.VERSION
    assert shape(connection).keys() >= {"tasks", "events", "boxes"}
    assert not connection.in_transaction
    connection.close()


def test_a_database_of_the_first_version_ends_at_todays_schema_and_keeps_its_rows(tmp_path: Path) -> None:
    old = connect(tmp_path / "old.db")
    old.executescript(f"BEGIN; {FIRST.read_text()} PRAGMA user_version=1; COMMIT;")
    old.execute("INSERT INTO customers VALUES ('c-1', 'acme', 'unlimited', 1, NULL)")
    old.close()
    old, new = open_database(tmp_path / "old.db"), open_database(tmp_path / "new.db")
    migrations.migrate(old)
    assert shape(old) == shape(new)
    assert steps(old) == steps(new)
    assert old.execute("SELECT name FROM customers").fetchone()[0] == "acme"
    assert old.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    old.close()
    new.close()


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    connection = connect(tmp_path / "hub.db")
    connection.execute("CREATE TABLE events (mine TEXT)")
    with pytest.raises(sqlite3.OperationalError):
        migrations.migrate(connection)
    assert shape(connection).keys() == {"events"}
    assert migrations.version(connection) == 0
    assert not connection.in_transaction
    connection.close()


def test_programs_that_migrate_at_once_do_so_once(tmp_path: Path) -> None:
    connections = [connect(tmp_path / "hub.db") for _ in range(4)]
    start = threading.Barrier(len(connections))
    failed: list[str] = []

    def work(connection: Connection) -> None:
        start.wait()
        try:
            migrations.migrate(connection)
        except sqlite3.Error as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(steps(connections[0])) == migrations.VERSION
    for connection in connections:
        connection.close()

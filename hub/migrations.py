"""The database's schema as steps, from an empty file to today's; those that are missing commit together, recorded.

`user_version` is the number of the last step, so that an up-to-date database is opened without loading sqlite-utils,
which costs 0.13 s and 16 MB.
"""

from pathlib import Path
from typing import Any, Final

from cloudsync.sql import statements

VERSION: Final = 2


def migrate(connection: Any) -> None:
    """Bring the database to VERSION, or leave it as it is where a step fails. Two programs may do so at once."""
    from sqlite_utils import Database, Migrations

    steps = Migrations("hub")

    @steps(name="0001_tables")
    def tables(database: Database) -> None:
        # The first databases were made at once, with no record of it.
        if version(connection) == 0:
            _run(database, "schema.sql")

    @steps(name="0002_artifacts")
    def artifacts(database: Database) -> None:
        _run(database, "schema_artifacts.sql")

    connection.execute("BEGIN IMMEDIATE")
    try:
        steps.apply(Database(connection))
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        # Where SQLite did not end the transaction itself (its page on transactions, "Response To Errors").
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def version(connection: Any) -> int:
    """The number of the last step that the database has."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _run(database: Any, file: str) -> None:
    for statement in statements(Path(__file__).with_name(file).read_text()):
        database.execute(statement)

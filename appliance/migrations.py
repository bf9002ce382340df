"""The journal's schema as steps, from an empty file to today's; each step and the record that it ran commit together.

`user_version` is the number of the last step, so that an up-to-date journal is opened without loading sqlite-utils,
which costs 0.13 s and 16 MB.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pysqlite3.dbapi2 as sqlite3

from cloudsync.sql import statements

VERSION: Final = 3
_ADD_FACT: Final = "INSERT INTO meta (name, value) VALUES (?, ?)"

Fact = tuple[str, object]


def migrate(connection: sqlite3.Connection, facts: Iterable[Fact]) -> None:
    """Bring a journal to VERSION. A new one begins with these facts, in the same commit as its tables."""
    from sqlite_utils import Database, Migrations

    steps = Migrations("journal")

    @steps(name="0001_tables")
    def tables(database: Database) -> None:
        _run(database, "schema.sql")
        for fact in facts:
            database.execute(_ADD_FACT, fact)
        database.execute("PRAGMA user_version = 1")

    @steps(name="0002_steps")
    def browser_steps(database: Database) -> None:
        _run(database, "schema_steps.sql")
        database.execute("PRAGMA user_version = 2")

    @steps(name="0003_artifacts")
    def artifacts(database: Database) -> None:
        _run(database, "schema_artifacts.sql")
        database.execute("PRAGMA user_version = 3")

    steps.apply(Database(connection))


def _run(database: Any, file: str) -> None:
    for statement in statements(Path(__file__).with_name(file).read_text()):
        database.execute(statement)

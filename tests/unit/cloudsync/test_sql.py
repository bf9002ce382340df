"""Schema files as statements."""

from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from cloudsync.sql import statements

FILES = sorted(file for package in ("appliance", "hub") for file in Path(__file__).parents[3].glob(f"{package}/*.sql"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_schema_is_split_where_sqlite_sees_an_end_and_nothing_of_it_is_lost(file: Path) -> None:
    text = file.read_text()
    found = list(statements(text))
    assert found
    assert "".join(found) == text
    for statement in found:
        assert sqlite3.complete_statement(statement)
        before_the_end = statement.rstrip().removesuffix(";") if statement.rstrip().endswith(";") else ""
        assert not sqlite3.complete_statement(before_the_end)

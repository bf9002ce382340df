"""A shim around the journal's connection, through which a test holds up, fails or outlives one commit."""

from collections.abc import Callable
from typing import Any

import pysqlite3.dbapi2 as sqlite3

from appliance import journal

Statements = list[str]
Step = Callable[[Statements], None]


class Connection:
    """A real connection; `before` and `after` are called around each COMMIT with the statements that it makes durable.

    What `before` raises the caller gets as if SQLite had raised it.
    """

    def __init__(self, real: sqlite3.Connection, before: Step, after: Step) -> None:
        self._real = real
        self._before = before
        self._after = after
        self._statements: Statements = []

    def execute(self, sql: str, *values: Any) -> Any:
        """As the real one does."""
        if sql == "COMMIT":
            self._before(self._statements)
            cursor = self._real.execute(sql)
            self._after(self._statements)
            return cursor
        cursor = self._real.execute(sql, *values)
        self._statements = [] if sql.startswith(("BEGIN", "ROLLBACK")) else [*self._statements, sql]
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def nothing(statements: Statements) -> None:
    """No step."""
    del statements


def wrapped(real_open: Callable[..., sqlite3.Connection], before: Step, after: Step) -> Callable[..., Any]:
    """`journal._open_checked`, with the shim around what it opens."""
    return lambda *arguments: Connection(real_open(*arguments), before, after)


def real_open() -> Callable[..., sqlite3.Connection]:
    """What opens the journal's connection."""
    return journal._open_checked

"""The floor under an accepted task: one small row, committed and fsynced, on the disk that is measured."""

import shutil
import tempfile
from pathlib import Path
from time import perf_counter

import pysqlite3.dbapi2 as sqlite3

from scripts.benchmarks.subject import Unit

# The whole row: the key that is indexed, and a body that fills it up.
ROW_BYTES = 200
KEY_BYTES = 16

# SQLite's own checkpoint comes at 1,000 pages of WAL; from then on the WAL is overwritten in place, which spares the
# file system the growth of the file. A daemon spends its life in that state, so that is where the floor is measured.
WARM_UP_COMMITS = 800

SCHEMA = """
CREATE TABLE row (id INTEGER PRIMARY KEY, task TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX row_by_task ON row (task);
"""
INSERT = "INSERT INTO row (task, body) VALUES (?, ?)"


class CommitFloor:
    """Commits in WAL mode with synchronous=FULL, one row each: milliseconds a commit."""

    name = "commit"
    unit = Unit.MS

    def __init__(self, folder: Path) -> None:
        self._parent = folder
        self._folder: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self._count = 0

    def start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="commit-", dir=self._parent))
        self._connection = sqlite3.connect(self._folder / "floor.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(SCHEMA)
        for _ in range(WARM_UP_COMMITS):
            self._commit()

    def sample(self, window_s: float) -> list[float]:
        until = perf_counter() + window_s
        samples = [self._commit()]
        while perf_counter() < until:
            samples.append(self._commit())
        return samples

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _commit(self) -> float:
        """One row in a transaction of its own; milliseconds until it is on the disk."""
        self._count += 1
        row = (f"{self._count:0{KEY_BYTES}}", "x" * (ROW_BYTES - KEY_BYTES))
        assert self._connection is not None
        began = perf_counter()
        self._connection.execute(INSERT, row)
        return (perf_counter() - began) * 1000

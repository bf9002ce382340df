"""The hub's SQLite database: group commit, readers beside it.

Theory of operation. A job is a function on the connection. All jobs that wait are run in one transaction and made
durable by one fsync; then their callers are told, all at once. The statements run in the event loop's own thread: they
are short, and two threads would fight over the interpreter's lock at every one of them (measured: a third more CPU a
task). COMMIT, which waits for the disk, runs in a thread of its own; jobs gather meanwhile. A lone job on a disk that
is usually quicker than the way to the thread and back is committed in place.

A job that fails before it wrote anything, such as one that refuses (`Refusal`), fails alone. If it wrote, the whole
batch is rolled back and each job is run again alone, so that one caller's failure is only its own and half of a job
is never kept. A commit that fails tells every caller of the batch; a failed fsync ends the process, since only a fresh
start reads back what is durable (the page cache may lie after it).
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pysqlite3.dbapi2 as sqlite3

from hub import migrations
from hub.errors import StartError, StoreUnavailable

log = logging.getLogger(__name__)

Connection = Any  # pysqlite3 ships no types
Row = Any
T = TypeVar("T")
Job = Callable[[Connection], T]

# SQLite 3.7.0 to 3.51.2 can corrupt a WAL database that two connections write and checkpoint at once.
SAFE_SQLITE: Final = (3, 51, 3)
# More would not make the fsync cheaper, only the wait of the first caller longer.
BATCH_JOBS: Final = 256
# The admin commands and `serve` write beside each other; a command waits this long for the lock,
BUSY_TIMEOUT_MS: Final = 10_000
# the event loop only this long, then it turns to other things and comes back.
LOOP_BUSY_MS: Final = 2
LOCK_RETRY_S: Final = 0.02
# A thread and back costs about 0.1 ms; a loop that stands still for so long delays nobody.
QUICK_S: Final = 0.0008


def check_sqlite_version() -> None:
    """Refuse an SQLite that can corrupt the database."""
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        raise StartError(
            f"SQLite {sqlite3.sqlite_version} can corrupt a database that two processes write",
            "install pysqlite3 0.6.1 or newer, which brings SQLite 3.53",
        )


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """A connection as the hub uses it: WAL, synchronous FULL, explicit transactions."""
    uri = f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    if not read_only:
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA cache_size=-16000")
    return connection


def _switch_to_wal(connection: Connection) -> None:
    """Make it a WAL database. For a new one that needs the whole lock, and SQLite does not wait for that by itself."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(LOCK_RETRY_S)


def open_database(path: Path) -> Connection:
    """Open the database, creating it where it is not; `StartError` where it is another program's or a newer one's."""
    check_sqlite_version()
    is_new = not path.exists()
    try:
        if is_new:
            # Its journals take their mode from it. One that another program makes meanwhile stays as it is.
            path.touch(0o600)
        connection = connect(path)
        version = migrations.version(connection)
    except (sqlite3.OperationalError, OSError) as error:
        hint = "look whether this user may write there and whether the disk is full or failing"
        raise StartError(f"{path} cannot be opened: {error}", hint) from error
    except sqlite3.DatabaseError as error:
        raise StartError(f"{path} is not a usable database: {error}", "restore it from a backup") from error
    if version > migrations.VERSION:
        raise StartError(
            f"{path} has schema version {version}, this program knows {migrations.VERSION}",
            "run the newer Operis that made it, or another --data folder",
        )
    if version < migrations.VERSION:
        _migrate(connection, path)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return connection


def _migrate(connection: Connection, path: Path) -> None:
    try:
        migrations.migrate(connection)
    except sqlite3.OperationalError as error:
        hint = "free disk space, or name another --data folder"
        raise StartError(f"{path} cannot be made a hub's database: {error}", hint) from error


def transact(connection: Connection, job: Job[T]) -> T:
    """Run one job in a durable transaction of its own, without an event loop; `StoreUnavailable` if that fails."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = job(connection)
        connection.execute("COMMIT")
    except BaseException as error:
        _roll_back(connection)
        if isinstance(error, sqlite3.OperationalError):
            raise _translate(error) from error
        raise
    return result


def _roll_back(connection: Connection) -> None:
    """End the transaction, unless SQLite did so itself (its page on transactions, "Response To Errors")."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class Store:
    """The database while the hub serves. All methods are called on the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = open_database(path)
        self._writer.execute(f"PRAGMA busy_timeout={LOOP_BUSY_MS}")
        self._reader = connect(path, read_only=True)
        self._waiting: list[_Item] = []
        self._alone: deque[_Item] = deque()
        self._is_busy = False
        self._usual_s = QUICK_S
        self._commits: queue.SimpleQueue[list[_Result] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._commit_batches, name="commit", daemon=True)
        self._idle = asyncio.Event()
        self._local = threading.local()
        self._readers: list[Connection] = []
        self.commits = 0
        self.jobs = 0

    def start(self) -> None:
        """Start the thread that waits for the disk. Call in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._idle.set()

    async def stop(self) -> None:
        """Commit what waits and close."""
        while self._is_busy or self._waiting or self._alone:
            self._idle.clear()
            await self._idle.wait()
        self._commits.put(None)
        await asyncio.to_thread(self._thread.join)
        for connection in (self._writer, self._reader, *self._readers):
            connection.close()

    def write(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run a job in the next commit; the future has its result once that is durable."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((job, future))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._run_batch)
        return future

    def read_now(self, query: str, arguments: tuple[Any, ...] = ()) -> list[Row]:
        """A point query, in the event loop itself: some 30 µs, cheaper than a thread hop."""
        return list(self._reader.execute(query, arguments))

    async def read(self, job: Job[T]) -> T:
        """Run a longer query on a reader's connection in a thread."""
        return await asyncio.to_thread(self._read, job)

    def _read(self, job: Job[T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
            self._readers.append(connection)
        return job(connection)

    def _run_batch(self) -> None:
        """Run what waits and hand it to the disk."""
        if self._alone:
            batch = [self._alone.popleft()]
        else:
            batch, self._waiting = self._waiting[:BATCH_JOBS], self._waiting[BATCH_JOBS:]
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if "locked" in str(error):  # an admin command holds the lock
                self._waiting[:0] = batch
                self._loop.call_later(LOCK_RETRY_S, self._run_batch)
            else:
                self._done([(future, None, _translate(error)) for _, future in batch])
            return
        try:
            results = [_run(self._writer, job, future) for job, future in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller whose job it was must be told
            _exit_after_failed_write(error)
            _roll_back(self._writer)
            if len(batch) == 1:
                self._done([(batch[0][1], None, _translate(error))])
            else:
                self._alone.extend(batch)
                self._run_batch()
            return
        if len(results) == 1 and self._usual_s < QUICK_S:
            self._done(self._commit(results))
        else:
            self._commits.put(results)

    def _commit_batches(self) -> None:
        """The thread: make batches durable, one after another."""
        while (results := self._commits.get()) is not None:
            self._loop.call_soon_threadsafe(self._done, self._commit(results))

    def _commit(self, results: "list[_Result]") -> "list[_Result]":
        """What to tell the callers once it is durable, or is not."""
        began = time.perf_counter()
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            _exit_after_failed_write(error)
            _roll_back(self._writer)
            return [(future, None, _translate(error)) for future, _, _ in results]
        self._usual_s += (time.perf_counter() - began - self._usual_s) / 8
        return results

    def _done(self, results: "list[_Result]") -> None:
        self.commits += 1
        self.jobs += len(results)
        if self._waiting or self._alone:
            self._loop.call_soon(self._run_batch)
        else:
            self._is_busy = False
        for future, value, error in results:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        # Last, so that what the callers write next is seen by `stop`.
        self._idle.set()


_Item = tuple[Job[Any], "asyncio.Future[Any]"]
_Result = tuple["asyncio.Future[Any]", Any, Exception | None]


def _run(connection: Connection, job: Job[Any], future: "asyncio.Future[Any]") -> _Result:
    changes = connection.total_changes
    try:
        return future, job(connection), None
    except Exception as error:
        wrote = connection.total_changes != changes or not connection.in_transaction
        if wrote or isinstance(error, sqlite3.OperationalError):
            raise
        return future, None, error


def _exit_after_failed_write(error: Exception) -> None:
    if isinstance(error, sqlite3.OperationalError) and "disk I/O error" in str(error):
        log.critical("the disk failed a write; ending so that the next start reads what is durable: %s", error)
        os._exit(74)


def _translate(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError | sqlite3.InternalError):
        return StoreUnavailable(f"the database could not commit: {error}")
    return error

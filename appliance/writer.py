"""Group commit: all that waits goes into one transaction, and so into one fsync.

The statements run on the loop's thread; they are short, and two threads would fight over the interpreter's lock at each
of them. COMMIT, which waits for the disk, runs in a thread of its own; jobs gather meanwhile. A lone job on a disk that
is usually quicker than the way to the thread and back is committed in place.

A commit that the disk has no room for is tried again until there is: the reserve, a file that was allocated when there
was room, is given up for it. While it is held nothing is acknowledged. A commit that fails otherwise ends the process,
since after a failed fsync only a new start can tell what is durable.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pysqlite3.dbapi2 as sqlite3

from appliance.errors import EXIT_DISK_FAILED

log = logging.getLogger(__name__)

Statement = tuple[str, tuple[Any, ...]]
Done = Callable[[], None]
_Job = tuple[Sequence[Statement], Done | None]

# Enough for some hundred outcomes with all the output that they may carry.
RESERVE_BYTES: Final = 16 * 1024 * 1024
# A person or a backup may hold the journal's lock: the loop waits for it only this long, then turns to other things
LOCK_WAIT_MS: Final = 2
# and comes back.
LOCK_RETRY_S: Final = 0.02
# How soon a full disk is tried again.
FULL_RETRY_S: Final = 0.5
# A thread and back costs about 0.1 ms; a loop that stands still for so long delays nobody.
QUICK_S: Final = 0.0008
# As many as share a quick commit.
QUICK_JOBS: Final = 16
# The most that one commit takes: a larger one would keep the first of its waiters waiting.
COMMIT_JOBS: Final = 512


class Writer:
    """Commits jobs in the order in which they come. All methods are called on the loop's thread."""

    def __init__(self, connection: sqlite3.Connection, reserve: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._reserve = reserve
        self._loop = loop
        self._waiting: list[_Job] = []
        self._batch: list[_Job] = []
        self._retry: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._has_failed = False
        self._usual_s = QUICK_S
        self._commits: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._commit_batches, name="commit", daemon=True)
        self.is_held = False
        """The disk is full: commits wait."""
        self.commits = 0
        self._has_reserve = make_reserve(reserve)

    def start(self) -> None:
        """Begin to commit."""
        self._connection.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_MS}")
        self._thread.start()

    def submit(self, statements: Sequence[Statement], done: Done | None = None) -> None:
        """Commit these together; `done` is called when they are durable."""
        self._waiting.append((statements, done))
        if not self._batch and len(self._waiting) == 1:
            self._loop.call_soon(self._run_batch)

    def close(self) -> None:
        """Commit what waits, unless the disk is full, and end. What was to be called then is called no more."""
        self._is_closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._commits.put(False)
        if self._thread.is_alive():
            self._thread.join()
        # A commit that was under way is over; of one that failed nothing is in the database.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        jobs = [*(self._batch if self._has_failed else ()), *self._waiting]
        if jobs and self._execute(jobs) is None:
            self._commit()
        self._connection.close()

    def _run_batch(self) -> None:
        """Run what waits and hand it to the disk."""
        self._retry = None
        if self._is_closed:
            return
        if not self._batch:
            self._batch, self._waiting = self._waiting[:COMMIT_JOBS], self._waiting[COMMIT_JOBS:]
        error = self._execute(self._batch)
        if error is not None:
            self._over(error)
        elif len(self._batch) <= QUICK_JOBS and self._usual_s < QUICK_S:
            self._over(self._commit())
        else:
            self._commits.put(True)

    def _execute(self, jobs: Sequence[_Job]) -> sqlite3.Error | None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for statements, _ in jobs:
                for sql, values in statements:
                    execute(sql, values)
        except sqlite3.Error as error:
            self._has_failed = True
            return error
        return None

    def _commit_batches(self) -> None:
        """The thread."""
        while self._commits.get():
            self._loop.call_soon_threadsafe(self._over, self._commit())

    def _commit(self) -> sqlite3.Error | None:
        began = time.perf_counter()
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._has_failed = True
            return error
        self._has_failed = False
        self._usual_s += (time.perf_counter() - began - self._usual_s) / 8
        return None

    def _over(self, error: sqlite3.Error | None) -> None:
        """The batch is durable, or is not."""
        if self._is_closed:
            return
        if error is not None:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if "locked" in str(error):  # somebody else writes to the journal just now
                self._retry = self._loop.call_later(LOCK_RETRY_S, self._run_batch)
                return
            if not isinstance(error, sqlite3.OperationalError) or "full" not in str(error):
                _give_up(error)
            self._hold()
            self._retry = self._loop.call_later(FULL_RETRY_S, self._run_batch)
            return
        self.commits += 1
        self._release()
        if not self._has_reserve:
            self._has_reserve = make_reserve(self._reserve)
        batch, self._batch = self._batch, []
        if self._waiting:
            self._loop.call_soon(self._run_batch)
        for _, done in batch:
            if done is not None:
                done()

    def _hold(self) -> None:
        spend_reserve(self._reserve)
        self._has_reserve = False
        if not self.is_held:
            self.is_held = True
            log.error("the disk is full: the journal waits for space", extra={"path": str(self._reserve.parent)})

    def _release(self) -> None:
        if self.is_held:
            self.is_held = False
            log.warning("the journal is written again")


def make_reserve(path: Path) -> bool:
    """Allocate the reserve where the disk has twice its room; whether it is there."""
    try:
        if path.stat().st_size >= RESERVE_BYTES:
            return True
    except FileNotFoundError:
        pass
    usage = os.statvfs(path.parent)
    if usage.f_bavail * usage.f_frsize < 2 * RESERVE_BYTES:
        return False
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, RESERVE_BYTES)
        os.fsync(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def spend_reserve(path: Path) -> None:
    """Give the reserve's room to the file system."""
    with suppress(FileNotFoundError):
        os.truncate(path, 0)


def _give_up(error: sqlite3.Error) -> None:
    log.critical(
        "the journal cannot be written: the daemon ends, its next start reads what is durable",
        extra={"error": str(error)},
    )
    logging.shutdown()
    os._exit(EXIT_DISK_FAILED)

"""The one thread that writes the journal: all that waits goes into one commit, and so into one fsync.

A commit that the disk has no room for is tried again until there is: the reserve, a file that was allocated when there
was room, is given up for it. While it is held nothing is acknowledged. A commit that fails otherwise ends the process,
since after a failed fsync only a new start can tell what is durable.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pysqlite3.dbapi2 as sqlite3

from appliance.errors import EXIT_DISK_FAILED

log = logging.getLogger(__name__)

Statement = tuple[str, tuple[Any, ...]]
Done = Callable[[], None]

# Enough for some hundred outcomes with all the output that they may carry.
RESERVE_BYTES: Final = 16 * 1024 * 1024
# How soon a full disk is tried again.
FULL_RETRY_S: Final = 0.5
# The most that one commit takes: a larger one would keep the first of its waiters waiting.
COMMIT_JOBS: Final = 512


class Writer:
    """Commits jobs in the order in which they come. `deliver` gets what to call for those that are durable."""

    def __init__(self, connection: sqlite3.Connection, reserve: Path, deliver: Callable[[list[Done]], None]) -> None:
        self._connection = connection
        self._reserve = reserve
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[tuple[Sequence[Statement], Done | None] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.is_held = False
        """The disk is full: commits wait."""
        self.commits = 0
        make_reserve(reserve)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def submit(self, statements: Sequence[Statement], done: Done | None = None) -> None:
        """Commit these together; `done` is delivered when they are durable."""
        self._jobs.put((statements, done))

    def close(self) -> None:
        """Commit what waits, unless the disk is full, and end."""
        self._jobs.put(None)
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            jobs = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= COMMIT_JOBS:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            is_last = job is None
            if jobs and self._commit([statement for statements, _ in jobs for statement in statements]):
                self._deliver([done for _, done in jobs if done is not None])

    def _commit(self, statements: list[Statement]) -> bool:
        """Whether it is durable; False only where the disk is full and the writer is closed."""
        while True:
            try:
                self._try_commit(statements)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    _give_up(error)
                self._hold()
                if self._stopping.is_set():
                    return False
                self._stopping.wait(FULL_RETRY_S)
            except sqlite3.DatabaseError as error:
                _give_up(error)
            else:
                self._release()
                return True

    def _try_commit(self, statements: list[Statement]) -> None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                execute(sql, values)
            execute("COMMIT")
        except sqlite3.DatabaseError:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self.commits += 1

    def _hold(self) -> None:
        spend_reserve(self._reserve)
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

"""The journal: opening it, what it holds, and the statements by which it changes.

The database is written by one thread (`writer`), read beside it through a connection of its own. Statements are built
on the loop's thread, where the next event seq is known, and committed in that order, so the event log has no gap.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import pysqlite3.dbapi2 as sqlite3

from appliance import migrations
from appliance.errors import FolderNewer, FolderUnusable, JournalDamaged, SqliteUnsafe
from appliance.folder import DataFolder, free_bytes, sync_folder
from appliance.writer import RESERVE_BYTES, Done, Statement, Writer, spend_reserve
from cloudsync.spec import spec_digest

VERSION: Final = migrations.VERSION
# SQLite forum, "WAL reset bug": fixed in 3.51.3 and not in what Debian 12 and 13 carry.
SAFE_SQLITE: Final = (3, 51, 3)
TOMBSTONE_DAYS: Final = 60
# A page of tasks holds no more of what they wrote than this, and one task.
PAGE_BYTES: Final = 4 * 1024 * 1024
# Looked through in some ms.
OPEN_LOOK_ROWS: Final = 10_000
DAY_MS: Final = 24 * 3600 * 1000
_FACTS: Final = frozenset(
    {"box_key", "incarnation", "session", "last", "command_seq", "acked_event_seq", "clean_stop", "open_from"}
)
# What SQLite says where the file may be whole: moving it aside would lose it for nothing.
_NOT_DAMAGE: Final = ("full", "readonly", "unable to open", "disk I/O", "locked")

ADD_TASK: Final = """
INSERT INTO tasks (id, origin, state, spec, created_by, created_at, accepted_at, attempt, boot_id, started_at,
                   ended_at, error_code, final_seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
RUN_TASK: Final = "UPDATE tasks SET state = 'running', attempt = ?, boot_id = ?, started_at = ? WHERE id = ?"
INTEND: Final = "UPDATE tasks SET intent = ?, intent_by = ? WHERE id = ?"
END_TASK: Final = """
UPDATE tasks SET state = ?, started_at = ?, ended_at = ?, exit_code = ?, error_code = ?, final_seq = ? WHERE id = ?"""
SET_FACT: Final = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
ADD_STEP: Final = "INSERT OR REPLACE INTO steps (task_id, attempt, n, body) VALUES (?, ?, ?, ?)"
FORGET_STEPS: Final = "DELETE FROM steps WHERE task_id = ?"
STEPS: Final = "SELECT n, body FROM steps WHERE task_id = ? AND attempt = ? ORDER BY n"
ADD_EVENT: Final = "INSERT INTO events (seq, at, body) VALUES (?, ?, ?)"
UNFINISHED: Final = """
SELECT * FROM tasks WHERE n >= (SELECT value FROM meta WHERE name = 'open_from') AND state IN ('accepted', 'running')
ORDER BY n"""
# From where on tasks may be unfinished, as far as a bounded look at the next rows tells.
OPEN_FROM: Final = """
SELECT coalesce((SELECT min(n) FROM tasks
                 WHERE n BETWEEN f.value AND f.value + ?1 AND state IN ('accepted', 'running')),
                min(f.value + ?1, (SELECT coalesce(max(n), 0) FROM tasks)) + 1)
FROM meta f WHERE f.name = 'open_from'"""
KNOWN: Final = "SELECT spec, NULL FROM tasks WHERE id = ?1 UNION ALL SELECT NULL, digest FROM tombstones WHERE id = ?1"
EVENTS: Final = "SELECT body FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"
EVENT_ID: Final = "SELECT json_extract(body, '$.id') FROM events WHERE seq = ?"
OUTCOME: Final = """
SELECT t.state, json_extract(e.body, '$.outcome') FROM tasks t LEFT JOIN events e ON e.seq = t.final_seq
WHERE t.id = ?"""
TASK: Final = """
SELECT t.*, json_extract(e.body, '$.outcome') AS outcome FROM tasks t LEFT JOIN events e ON e.seq = t.final_seq
WHERE t.id = ?"""
TASKS: Final = """
SELECT t.*, json_extract(e.body, '$.outcome') AS outcome FROM tasks t LEFT JOIN events e ON e.seq = t.final_seq
WHERE n < :before AND (:state IS NULL OR state = :state) AND (:origin IS NULL OR origin = :origin)
    AND (:created_by IS NULL OR created_by = :created_by)
    AND (:kind IS NULL OR json_extract(spec, '$.kind') = :kind)
ORDER BY n DESC LIMIT :limit"""
OLD_TASKS: Final = """
SELECT id, spec FROM tasks WHERE state NOT IN ('accepted', 'running') AND ended_at < ? AND coalesce(final_seq, 0) <= ?
AND n < (SELECT max(n) FROM tasks) -- an n is never given again
ORDER BY n LIMIT ?"""
BURY: Final = "INSERT OR REPLACE INTO tombstones (id, digest, at) VALUES (?, ?, ?)"
FORGET_TASK: Final = "DELETE FROM tasks WHERE id = ?"
FORGET_EVENTS: Final = """
DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ? ORDER BY seq LIMIT ?) AND at < ?"""
FORGET_TOMBSTONES: Final = "DELETE FROM tombstones WHERE at < ?"
# Two steps, since a row may not pass through another's place.
REBASE: Final = (
    "UPDATE events SET seq = -seq",
    "UPDATE events SET seq = -seq - ?1",
    "UPDATE tasks SET final_seq = final_seq - ?1 WHERE final_seq IS NOT NULL",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Where the journal stands: the numbers of the next hello, and how the last daemon ended."""

    incarnation: str
    session: int
    last: int
    command_seq: int
    event_seq: int
    oldest_event_seq: int
    acked_event_seq: int
    clean_stop: str
    """The boot in which the last daemon stopped in order; empty where it did not."""
    hub_work_held: bool
    """The hub said that this journal is an older copy: what the hub made is not started."""


class Journal:
    """An open journal. Everything but the writer's thread is called on the loop's thread."""

    def __init__(self, folder: DataFolder, writer: Writer, reader: sqlite3.Connection, facts: Facts) -> None:
        self.facts = facts
        self.head = facts.event_seq
        """The newest event that was given to the writer."""
        self.damaged: str | None = None
        """Why the journal before this one was moved aside."""
        self._folder = folder
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(cls, folder: DataFolder, box_key: str, *, is_old_box: bool) -> Self:
        """Open or create it. One that is damaged, or gone although the box is old, is replaced; `damaged` says so."""
        check_sqlite()
        if free_bytes(folder.path) < RESERVE_BYTES // 4:
            spend_reserve(folder.reserve)
        is_missing = _is_empty(folder.journal)
        damaged = "the journal was missing" if is_missing and is_old_box else None
        try:
            connection = _open_checked(folder, box_key)
        except JournalDamaged as error:
            damaged = str(error)
            _move_aside(folder)
            connection = _open_checked(folder, box_key)
        reader = _connect(folder.journal)
        reader.row_factory = sqlite3.Row
        writer = Writer(connection, folder.reserve, asyncio.get_running_loop())
        journal = cls(folder, writer, reader, _read_facts(reader))
        journal.damaged = damaged
        journal._writer.start()
        return journal

    def close(self) -> None:
        """Commit what waits and close."""
        self._writer.close()
        self._reader.close()

    @property
    def is_held(self) -> bool:
        """The disk is full and nothing is committed."""
        return self._writer.is_held

    @property
    def commits(self) -> int:
        """How many commits there were since it was opened."""
        return self._writer.commits

    def commit(self, statements: Sequence[Statement], done: Done | None = None) -> None:
        """Make these durable together, after all that was given before; then `done` is called on the loop."""
        self._writer.submit(statements, done)

    async def committed(self, statements: Sequence[Statement]) -> None:
        """As `commit`; returns when it is durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.commit(statements, lambda: None if future.done() else future.set_result(None))
        await future

    def next_event(self, at_ms: int, body: str) -> tuple[int, Statement]:
        """The seq of the next event, and the statement that enters it; it must be committed in this order."""
        self.head += 1
        return self.head, (ADD_EVENT, (self.head, at_ms, body))

    def rebase(self, shift: int, incarnation: str) -> list[Statement]:
        """Begin another incarnation: the events that are held become 1, 2, …"""
        self.head -= shift
        return [
            (REBASE[0], ()),
            *((sql, (shift,)) for sql in REBASE[1:]),
            *(
                (SET_FACT, (name, value))
                for name, value in (
                    ("incarnation", incarnation),
                    ("last", 0),
                    ("command_seq", 0),
                    ("acked_event_seq", 0),
                )
            ),
        ]

    # Reading

    def unfinished(self) -> list[dict[str, Any]]:
        """The rows of the tasks that are accepted or running, oldest first."""
        return [dict(row) for row in self._reader.execute(UNFINISHED)]

    def steps(self, task_id: str, attempt: int) -> dict[int, str]:
        """What the steps of an attempt gave that is not over, as JSON text by number from 0 on."""
        return {row["n"]: row["body"] for row in self._reader.execute(STEPS, (task_id, attempt))}

    def known_digest(self, task_id: str) -> str | None:
        """The digest of the spec under which this id is known; None where it is not."""
        row = self._reader.execute(KNOWN, (task_id,)).fetchone()
        if row is None:
            return None
        return cast("str", row[1]) if row[0] is None else spec_digest(row[0])

    def event_id(self, seq: int) -> str | None:
        """The id of the event at `seq`; None where it is not held."""
        row = self._reader.execute(EVENT_ID, (seq,)).fetchone()
        return None if row is None else cast("str", row[0])

    def events(self, first: int, last: int, limit_bytes: int) -> list[str]:
        """The bodies of committed events from `first` to `last`, or to where they pass `limit_bytes`."""
        bodies = []
        for row in self._reader.execute(EVENTS, (first, last)):
            bodies.append(row[0])
            limit_bytes -= len(row[0])
            if limit_bytes <= 0:
                break
        return bodies

    def oldest_event_seq(self) -> int:
        """The oldest event that is held; one above the head where none is."""
        return cast(
            "int", self._reader.execute("SELECT coalesce(min(seq), ?) FROM events", (self.head + 1,)).fetchone()[0]
        )

    def outcome(self, task_id: str) -> tuple[str, str | None] | None:
        """A task's state and, where it is over, its outcome as JSON text; None where the id is not known."""
        row = self._reader.execute(OUTCOME, (task_id,)).fetchone()
        return None if row is None else (row[0], row[1])

    def rows(self, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """What is committed, for the parts that have tables of their own."""
        return [dict(row) for row in self._reader.execute(query, values)]

    def task(self, task_id: str) -> dict[str, Any] | None:
        """A task's row, and its `outcome` as JSON text where it is over and that is kept."""
        row = self._reader.execute(TASK, (task_id,)).fetchone()
        return None if row is None else dict(row)

    def tasks(
        self, filters: Mapping[str, str | None], limit: int, before: int = 1 << 62
    ) -> tuple[list[dict[str, Any]], bool]:
        """Rows as of `task`, newest first, and whether there are more; fewer than `limit` where they are long.

        `filters` may name state, origin, created_by and kind.
        """
        asked = {"state": None, "origin": None, "created_by": None, "kind": None, **filters}
        rows: list[dict[str, Any]] = []
        room = PAGE_BYTES
        for row in self._reader.execute(TASKS, {**asked, "before": before, "limit": limit + 1}):
            if len(rows) == limit or room < 0:
                return rows, True
            rows.append(dict(row))
            room -= len(row["outcome"] or "") + len(row["spec"])
        return rows, False

    def prune(self, now_ms: int, acked_seq: int, keep_days: int, limit: int = 200) -> int:
        """Forget a few of the things that are over, acked and old; how many tasks."""
        old_ms = now_ms - keep_days * DAY_MS
        rows = self._reader.execute(OLD_TASKS, (old_ms, acked_seq, limit)).fetchall()
        statements: list[Statement] = []
        for row in rows:
            statements.append((BURY, (row["id"], spec_digest(row["spec"]), now_ms)))
            statements.append((FORGET_TASK, (row["id"],)))
        # The newest stays: the next handshake compares it with the ledger's.
        statements.append((FORGET_EVENTS, (min(acked_seq, self.head - 1), limit * 2, old_ms)))
        statements.append((SET_FACT, ("acked_event_seq", acked_seq)))
        open_from = self._reader.execute(OPEN_FROM, (OPEN_LOOK_ROWS,)).fetchone()[0]
        statements.append((SET_FACT, ("open_from", open_from)))
        statements.append((FORGET_TOMBSTONES, (now_ms - TOMBSTONE_DAYS * DAY_MS,)))
        self.commit(statements)
        return len(rows)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Refuse a library that can corrupt the journal."""
    if (3, 7, 0) <= version < SAFE_SQLITE:
        text = ".".join(str(part) for part in version)
        raise SqliteUnsafe(
            f"SQLite {text} can corrupt a database in WAL mode (3.7.0 to 3.51.2 can)",
            "Install pysqlite3 0.6.1 or newer, which carries an SQLite without the error.",
        )


def new_incarnation() -> str:
    """A name for a life of the journal."""
    return uuid.uuid4().hex


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _is_empty(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


def _open_checked(folder: DataFolder, box_key: str) -> sqlite3.Connection:
    """A connection to a journal that is whole and ours; `JournalDamaged` where it is not whole."""
    is_new = _is_empty(folder.journal)
    os.close(os.open(folder.journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(folder.journal, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise FolderUnusable(
                f"the file system of {folder.path} does not support SQLite's WAL",
                "Use a local file system, as ext4 is.",
            )
        # Above the size at which it is reset: the file is then overwritten, not made anew, and fsync stays cheap.
        connection.execute("PRAGMA journal_size_limit = 16777216")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise FolderNewer(
                f"the journal in {folder.path} was written by a newer version ({version}, this one knows {VERSION})",
                "Install the newer version again, or restore the folder from before the upgrade.",
            )
        if version == 0 and not is_new and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise JournalDamaged("the journal has no version")
        if version == 0:
            _create(connection, box_key)
            sync_folder(folder.path)
        elif version < VERSION:
            migrations.migrate(connection, ())
        check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise JournalDamaged(f"the journal fails its check: {check}")
        facts = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if not facts.keys() >= _FACTS:
            raise JournalDamaged(f"the journal does not say: {', '.join(sorted(_FACTS - facts.keys()))}")
    except sqlite3.DatabaseError as error:
        connection.close()
        if any(reason in str(error) for reason in _NOT_DAMAGE):
            hint = "Free some space on its disk and let the box's user write there; replace a disk that fails."
            raise FolderUnusable(f"the journal in {folder.path} cannot be opened: {error}", hint) from error
        raise JournalDamaged(f"the journal cannot be read: {error}") from error
    except Exception:
        connection.close()
        raise
    if facts["box_key"] != box_key:
        connection.close()
        raise FolderUnusable(
            f"the journal in {folder.path} belongs to another box than its key",
            "Put the journal and the key of one box together, or start in an empty folder.",
        )
    return connection


def _create(connection: sqlite3.Connection, box_key: str) -> None:
    facts = (
        ("box_key", box_key),
        ("incarnation", new_incarnation()),
        ("session", 0),
        ("last", 0),
        ("command_seq", 0),
        ("acked_event_seq", 0),
        ("open_from", 1),
        ("clean_stop", ""),
    )
    migrations.migrate(connection, facts)


def _move_aside(folder: DataFolder) -> None:
    """Keep what is left of a damaged journal for people to look at."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for suffix in ("", "-wal", "-shm"):
        part = folder.path / f"journal.db{suffix}"
        if part.exists():
            part.rename(folder.path / f"journal.damaged-{stamp}{suffix}")
    sync_folder(folder.path)


def _read_facts(reader: sqlite3.Connection) -> Facts:
    meta = dict(reader.execute("SELECT name, value FROM meta").fetchall())
    oldest, newest = reader.execute("SELECT min(seq), max(seq) FROM events").fetchone()
    acked = meta["acked_event_seq"]
    head = max(newest or 0, acked)
    return Facts(
        incarnation=meta["incarnation"],
        session=meta["session"],
        last=meta["last"],
        command_seq=meta["command_seq"],
        event_seq=head,
        oldest_event_seq=oldest or head + 1,
        acked_event_seq=acked,
        clean_stop=meta["clean_stop"],
        hub_work_held=bool(meta.get("hub_work_held", 0)),
    )

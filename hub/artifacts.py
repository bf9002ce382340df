"""Artifacts in the hub's database: what outcomes name, what of it has come, and what will not. Jobs of the store."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloudsync.spec import Artifact
from hub.store import Connection, Row

# A content that the customer has, from whatever task, need not come again.
_ADD: Final = """
INSERT INTO artifacts (id, customer_id, box_id, task_id, name, media_type, size_bytes, sha256, state)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, iif(EXISTS (
    SELECT 1 FROM blobs WHERE customer_id = ?2 AND sha256 = ?8 AND size_bytes = ?7), 'stored', 'pending'))
ON CONFLICT (id) DO NOTHING"""
_LOSE: Final = """
UPDATE artifacts SET state = 'lost', why = ? WHERE id = ? AND box_id = ? AND state = 'pending'"""
_STORE: Final = """
UPDATE artifacts SET state = 'stored', why = '' WHERE customer_id = ? AND sha256 = ? AND size_bytes = ?"""
_ADD_BLOB: Final = """
INSERT INTO blobs (customer_id, sha256, size_bytes, stored_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_UNUSED: Final = """
SELECT customer_id, sha256, size_bytes FROM blobs b WHERE NOT EXISTS (
    SELECT 1 FROM artifacts a WHERE a.customer_id = b.customer_id AND a.sha256 = b.sha256) LIMIT ?"""
_DROP_BLOB: Final = """
DELETE FROM blobs WHERE customer_id = ?1 AND sha256 = ?2 AND NOT EXISTS (
    SELECT 1 FROM artifacts WHERE customer_id = ?1 AND sha256 = ?2)"""

OF_TASK: Final = "SELECT * FROM artifacts WHERE task_id = ? AND n > ? ORDER BY n LIMIT ?"
ONE: Final = "SELECT * FROM artifacts WHERE id = ?"
EXPECTED: Final = """
SELECT size_bytes, min(state != 'pending') AS is_settled FROM artifacts
WHERE customer_id = ? AND sha256 = ? AND box_id = ? GROUP BY size_bytes ORDER BY is_settled LIMIT 1"""
BLOB: Final = "SELECT size_bytes FROM blobs WHERE customer_id = ? AND sha256 = ?"
USED: Final = "SELECT customer_id, sum(size_bytes) AS used FROM blobs GROUP BY customer_id"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes by their hash, within a customer."""

    customer_id: str
    sha256: str
    size_bytes: int


def enter(connection: Connection, customer_id: str, box_id: str, task_id: str, named: Iterable[Artifact]) -> None:
    """Enter what an outcome names; what is known stays as it is."""
    for one in named:
        values = (one.id, customer_id, box_id, task_id, one.name, one.media_type, one.size_bytes, one.sha256)
        connection.execute(_ADD, values)


def lose(connection: Connection, artifact_id: str, box_id: str, why: str) -> None:
    """pending -> lost: its box will not send it."""
    connection.execute(_LOSE, (why, artifact_id, box_id))


def store(connection: Connection, content: Content, now: int) -> bool:
    """pending, lost -> stored: the content lies in the store; whether it is new."""
    added = connection.execute(_ADD_BLOB, (content.customer_id, content.sha256, content.size_bytes, now))
    connection.execute(_STORE, (content.customer_id, content.sha256, content.size_bytes))
    return bool(added.rowcount)


def unused(connection: Connection, limit: int) -> list[Content]:
    """Contents that no artifact names any more."""
    return [Content(*row) for row in connection.execute(_UNUSED, (limit,))]


def drop(connection: Connection, content: Content) -> bool:
    """Forget a content; False where an artifact names it again."""
    return bool(connection.execute(_DROP_BLOB, (content.customer_id, content.sha256)).rowcount)


def is_of(row: Row, customer_id: str | None) -> bool:
    """Whether the artifact is this customer's (None: any)."""
    return customer_id is None or row["customer_id"] == customer_id

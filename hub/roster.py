"""Boxes in the hub's database: enrolment, the judgement of a hello, revocation and release. Jobs of the store."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pydantic_core

from cloudsync.fence import Known, Ruling, Standing, Verdict, copy_id, judge
from cloudsync.messages import Hello
from hub import ledger, tenancy
from hub.errors import Refusal, invalid, not_found
from hub.ledger import Change
from hub.store import Connection, Row

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_BOX = "SELECT * FROM boxes WHERE id = ?"
_HEAD = "SELECT coalesce(max(seq), 0) FROM commands WHERE box_id = ?"


@dataclass(frozen=True, slots=True)
class Application:
    """What a box says when it enrols."""

    token: str
    public_key: str
    name: str
    hwid: str
    hostname: str = ""


def enrol(connection: Connection, application: Application, now: int) -> tuple[Row, bool]:
    """Enrol a box, or find it by its key; the row and whether it is new."""
    if not _NAME.match(application.name):
        raise invalid(
            f"name '{application.name[:80]}' is no box name",
            [{"field": "name", "message": "1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit"}],
        )
    known = connection.execute("SELECT * FROM boxes WHERE public_key = ?", (application.public_key,)).fetchone()
    token = tenancy.token_row(connection, application.token)
    if known is not None and token["customer_id"] == known["customer_id"]:
        if known["standing"] == Standing.REVOKED:
            raise Refusal(403, "box_revoked", f"box '{known['id']}' is revoked", hint="use a new --data folder")
        return known, False
    tenancy.check_token(token, now)
    if known is not None:
        hint = "a box belongs to one customer; use a token of that one, or a new --data folder"
        raise Refusal(409, "key_enrolled", "another customer has a box with this key", hint=hint)
    if token["box_id"] is None:
        tenancy.check_plan(connection, token["customer_id"])
    tenancy.use_token(connection, token["id"])
    if token["box_id"] is not None:
        row = connection.execute(
            """UPDATE boxes SET public_key = ?, hwid = ?, standing = 'active', why = '' WHERE id = ? RETURNING *""",
            (application.public_key, application.hwid, token["box_id"]),
        ).fetchone()
        return row, True
    row = connection.execute(
        """INSERT INTO boxes (id, customer_id, name, public_key, hwid, enrolled_at, inventory)
        VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *""",
        (
            _free_id(connection, application.name),
            token["customer_id"],
            application.name,
            application.public_key,
            application.hwid,
            now,
            json.dumps({"hostname": application.hostname} if application.hostname else {}),
        ),
    ).fetchone()
    return row, True


def _free_id(connection: Connection, name: str) -> str:
    number, box_id = 1, name
    while connection.execute("SELECT 1 FROM boxes WHERE id = ?", (box_id,)).fetchone() is not None:
        number += 1
        box_id = f"{name}-{number}"
    return box_id


@dataclass(slots=True)
class Admission:
    """The outcome of a hello. `row` is the box as it was written."""

    verdict: Verdict
    row: Row
    change: Change = field(default_factory=Change)


def admit(connection: Connection, hello: Hello, now: int, new_id: Callable[[], str]) -> Admission:
    """Judge a hello whose signature is good and write the result; all in the caller's one transaction."""
    row = connection.execute(_BOX, (hello.box_id,)).fetchone()
    head = connection.execute(_HEAD, (hello.box_id,)).fetchone()[0]
    closed = connection.execute("SELECT incarnation FROM closed_incarnations WHERE box_id = ?", (hello.box_id,))
    known = Known(
        standing=Standing(row["standing"]),
        incarnation=row["incarnation"],
        closed_incarnations=frozenset(one["incarnation"] for one in closed),
        fence=row["fence"],
        settled=row["settled"],
        command_seq=max(head, row["command_seq"]),
        acked_command_seq=row["command_seq"],
        event_seq=row["event_seq"],
        released_copy=row["released_copy"],
    )
    verdict = judge(known, hello)
    admission = Admission(verdict, row)
    match verdict.ruling:
        case Ruling.QUARANTINE:
            _shut_out(connection, admission, hello, now, new_id)
        case Ruling.ADOPT:
            _adopt(connection, admission, hello, now, new_id)
        case Ruling.CONTINUE:
            _let_in(connection, admission, hello, now)
        case Ruling.RESTORED:
            ledger.renumber_commands(connection, hello.box_id, max(hello.command_seq, known.acked_command_seq))
            _let_in(connection, admission, hello, now)
            _note(connection, admission, "hub_restored", verdict.why, now, new_id)
        case Ruling.REVOKED | Ruling.STALE | Ruling.BEGIN_ANEW:
            pass
    return admission


def _let_in(connection: Connection, admission: Admission, hello: Hello, now: int) -> None:
    connection.execute("DELETE FROM commands WHERE box_id = ? AND seq <= ?", (hello.box_id, hello.command_seq))
    connection.execute(
        """UPDATE tasks SET delivery = 'confirmed', delivered_at = coalesce(delivered_at, ?)
        WHERE box_id = ? AND delivery = 'sent' AND state = 'queued'
        AND id NOT IN (SELECT task_id FROM commands WHERE box_id = ?)""",
        (now, hello.box_id, hello.box_id),
    )
    admission.row = connection.execute(
        """UPDATE boxes SET fence = ?, command_seq = max(command_seq, ?), last_seen_at = ?, hwid = ?,
        inventory = coalesce(?, inventory) WHERE id = ? RETURNING *""",
        (hello.session, hello.command_seq, now, hello.hwid, _json(hello.inventory), hello.box_id),
    ).fetchone()


def _adopt(connection: Connection, admission: Admission, hello: Hello, now: int, new_id: Callable[[], str]) -> None:
    old = admission.row["incarnation"]
    admission.change = ledger.close_incarnation(connection, hello.box_id, old, now, new_id)
    admission.row = connection.execute(
        """UPDATE boxes SET incarnation = ?, fence = ?, settled = 0, command_seq = 0, event_seq = 0, event_id = NULL,
        released_copy = NULL, standing = 'active', why = '', last_seen_at = ?, hwid = ?,
        inventory = coalesce(?, inventory) WHERE id = ? RETURNING *""",
        (hello.incarnation, hello.session, now, hello.hwid, _json(hello.inventory), hello.box_id),
    ).fetchone()
    if old is not None:
        connection.execute("DELETE FROM copies WHERE box_id = ?", (hello.box_id,))
        _note(
            connection, admission, "new_incarnation", "the box began anew; the old incarnation is closed", now, new_id
        )


def _shut_out(connection: Connection, admission: Admission, hello: Hello, now: int, new_id: Callable[[], str]) -> None:
    why = admission.verdict.why
    known = connection.execute(
        "SELECT 1 FROM copies WHERE box_id = ? AND copy_id = ?", (hello.box_id, copy_id(hello))
    ).fetchone()
    connection.execute(
        """INSERT INTO copies (box_id, copy_id, why, hwid, seen_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (box_id, copy_id) DO UPDATE SET seen_at = excluded.seen_at""",
        (hello.box_id, copy_id(hello), why, hello.hwid, now),
    )
    if not admission.verdict.copy_only and admission.row["standing"] == Standing.ACTIVE:
        admission.row = connection.execute(
            "UPDATE boxes SET standing = 'quarantined', why = ? WHERE id = ? RETURNING *", (why, hello.box_id)
        ).fetchone()
    if known is None:
        _note(connection, admission, "quarantined", why, now, new_id, copy=copy_id(hello))


def quarantine_rolled_back(
    connection: Connection, box_id: str, fence: int, hello: Hello, now: int, new_id: Callable[[], str]
) -> Admission:
    """The box found that the ledger holds other events than its own: it was rolled back."""
    row = connection.execute(_BOX, (box_id,)).fetchone()
    verdict = Verdict(Ruling.QUARANTINE, "the ledger holds other events than the box at the same place")
    admission = Admission(verdict, row)
    if row["fence"] == fence and row["standing"] == Standing.ACTIVE:
        _shut_out(connection, admission, hello, now, new_id)
    return admission


def settle(connection: Connection, box_id: str, session: int) -> bool:
    """The box has confirmed this session; False where it was revoked, quarantined or superseded meanwhile."""
    settled = connection.execute(
        "UPDATE boxes SET settled = ? WHERE id = ? AND fence = ? AND standing = 'active'", (session, box_id, session)
    )
    return bool(settled.rowcount)


def seen(connection: Connection, box_id: str, fence: int, now: int, inventory: dict[str, Any] | None) -> None:
    """When the box was last heard; written now and then and when its session ends."""
    connection.execute(
        """UPDATE boxes SET last_seen_at = max(coalesce(last_seen_at, 0), ?), inventory = coalesce(?, inventory)
        WHERE id = ? AND fence = ?""",
        (now, _json(inventory), box_id, fence),
    )


def own_box(connection: Connection, box_id: str, customer_id: str | None) -> Row:
    """The box, where it is this customer's (None: any)."""
    row = connection.execute(_BOX, (box_id,)).fetchone()
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("box", box_id, "list them with 'operis boxes' or GET /api/v1/boxes")
    return row


def revoke(connection: Connection, box_id: str, customer_id: str | None) -> Row:
    """Shut a box out for good: its key is refused from now on."""
    own_box(connection, box_id, customer_id)
    row = connection.execute(
        "UPDATE boxes SET standing = 'revoked', why = 'revoked by an operator' WHERE id = ? RETURNING *", (box_id,)
    ).fetchone()
    tenancy.touch(connection)
    return row


def release(connection: Connection, box_id: str, customer_id: str | None, copy: str) -> Row:
    """Choose the copy of a quarantined box that may begin anew at its next hello."""
    row = own_box(connection, box_id, customer_id)
    copies = [one["copy_id"] for one in connection.execute("SELECT copy_id FROM copies WHERE box_id = ?", (box_id,))]
    if row["standing"] == Standing.REVOKED:
        raise Refusal(409, "box_revoked", f"box '{box_id}' is revoked", hint="enrol it again under a new token")
    if copy not in copies:
        allowed = ", ".join(copies) or "none was presented"
        raise invalid(f"no copy '{copy}' of box '{box_id}' was presented", [{"field": "copy", "allowed": allowed}])
    return connection.execute("UPDATE boxes SET released_copy = ? WHERE id = ? RETURNING *", (copy, box_id)).fetchone()


def _note(
    connection: Connection,
    admission: Admission,
    kind: str,
    why: str,
    now: int,
    new_id: Callable[[], str],
    **more: str,
) -> None:
    row = admission.row
    entry = ledger.note(connection, row["customer_id"], row["id"], kind, new_id(), now, {"why": why, **more})
    admission.change.entries.append(entry)


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else pydantic_core.to_json(value, inf_nan_mode="null").decode()

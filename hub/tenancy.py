"""Customers, API keys and enrolment tokens. Jobs of the store; the admin commands run them beside `serve`.

Keys and tokens are 32 random bytes, kept as sha256 only: a slow hash guards guessable secrets, these are not.
"""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hub.errors import Refusal, invalid, not_found
from hub.signing import KEY_BYTES
from hub.store import Connection, Row


class Role(StrEnum):
    """What a key may do. Each may what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    PLATFORM = "platform"


RANK: Final = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2, Role.PLATFORM: 3}
CUSTOMER_ROLES: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)

# Boxes a customer may enrol; None: as many as there are. Without a plan nothing is limited.
PLAN_BOXES: Final[dict[str, int | None]] = {"unlimited": None, "starter": 1, "professional": 3, "enterprise": 10}
# Bytes of artifacts that are kept for a customer.
PLAN_ARTIFACT_BYTES: Final[dict[str, int | None]] = {
    "unlimited": None,
    "starter": 2 * 1024**3,
    "professional": 20 * 1024**3,
    "enterprise": 200 * 1024**3,
}
DEFAULT_PLAN: Final = "unlimited"
TOKEN_TTL_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a key's id, role and customer (None: the platform admin)."""

    key_id: str
    role: Role
    customer_id: str | None
    name: str


def digest(secret: str) -> str:
    """How a key or token is kept and looked up."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def touch(connection: Connection) -> None:
    """Tell a running hub that rights changed."""
    connection.execute(
        """INSERT INTO meta (key, value) VALUES ('rights_epoch', '1')
        ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
    )


def find_customer(connection: Connection, name_or_id: str) -> Row:
    """A customer by name or id."""
    row = connection.execute("SELECT * FROM customers WHERE name = ? OR id = ?", (name_or_id, name_or_id)).fetchone()
    if row is None:
        names = ", ".join(one["name"] for one in connection.execute("SELECT name FROM customers LIMIT 20"))
        raise not_found("customer", name_or_id, f"customers here: {names}" if names else "add it with 'customer add'")
    return row


def add_customer(connection: Connection, name: str, plan: str, now: int) -> Row:
    """Add a customer; names are unique."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise invalid("a customer's name has 1 to 100 printable characters", [{"field": "name"}])
    if plan not in PLAN_BOXES:
        raise invalid(f"there is no plan '{plan}'", [{"field": "plan", "allowed": list(PLAN_BOXES)}])
    if connection.execute("SELECT 1 FROM customers WHERE name = ?", (name,)).fetchone() is not None:
        raise Refusal(409, "exists", f"customer '{name}' exists", hint="choose another name")
    return connection.execute(
        "INSERT INTO customers (id, name, plan, created_at) VALUES (?, ?, ?, ?) RETURNING *",
        (f"c-{secrets.token_hex(6)}", name, plan, now),
    ).fetchone()


def revoke_customer(connection: Connection, name_or_id: str, now: int) -> Row:
    """Shut a customer out: its keys, tokens and boxes are refused from now on; its records stay."""
    row = find_customer(connection, name_or_id)
    for table in ("keys", "tokens"):
        connection.execute(
            f"UPDATE {table} SET revoked_at = ? WHERE customer_id = ? AND revoked_at IS NULL",  # noqa: S608
            (now, row["id"]),
        )
    connection.execute(
        "UPDATE boxes SET standing = 'revoked', why = 'its customer was revoked' WHERE customer_id = ?", (row["id"],)
    )
    touch(connection)
    return connection.execute(
        "UPDATE customers SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING *", (now, row["id"])
    ).fetchone()


def add_key(connection: Connection, customer: str | None, role: str, now: int) -> tuple[Row, str]:
    """Make a key; the row and the key itself, which is never shown again."""
    if customer is None:
        customer_id = None
    else:
        if role not in CUSTOMER_ROLES:
            raise invalid(
                f"there is no role '{role}'", [{"field": "role", "allowed": [str(r) for r in CUSTOMER_ROLES]}]
            )
        customer_id = _open_customer(connection, customer)["id"]
    key = f"opk_{secrets.token_urlsafe(32)}"
    row = connection.execute(
        "INSERT INTO keys (id, hash, customer_id, role, created_at) VALUES (?, ?, ?, ?, ?) RETURNING *",
        (f"k-{secrets.token_hex(6)}", digest(key), customer_id, role, now),
    ).fetchone()
    return row, key


def revoke_key(connection: Connection, key_id: str, customer_id: str | None, now: int) -> Row:
    """Revoke a key by its id."""
    row = connection.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone()
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("key", key_id, "keys are named by their id (k-…), see the list")
    touch(connection)
    return connection.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING *", (now, key_id)
    ).fetchone()


def rotate_admin_key(connection: Connection, now: int) -> str:
    """Make a new platform admin's key and revoke the others."""
    connection.execute("UPDATE keys SET revoked_at = ? WHERE customer_id IS NULL AND revoked_at IS NULL", (now,))
    touch(connection)
    return add_key(connection, None, Role.PLATFORM, now)[1]


def principal(connection: Connection, key: str) -> Principal | None:
    """Whose key this is; None where it is unknown or revoked."""
    row = connection.execute("SELECT * FROM keys WHERE hash = ? AND revoked_at IS NULL", (digest(key),)).fetchone()
    if row is None:
        return None
    return Principal(row["id"], Role(row["role"]), row["customer_id"], f"key {row['id']}")


def add_token(
    connection: Connection, customer: str, uses: int, ttl_s: float, box_id: str | None, now: int
) -> tuple[Row, str]:
    """Make an enrolment token; the row and the token itself, which is never shown again."""
    if not 1 <= uses <= 1_000_000:
        raise invalid(f"uses is {uses}", [{"field": "uses", "allowed": "1 to 1000000"}])
    if not 0 < ttl_s <= 10 * 366 * 24 * 3600:
        raise invalid(
            f"ttl is {ttl_s} s", [{"field": "ttl_s", "allowed": "more than 0, at most ten years, in seconds"}]
        )
    customer_id = _open_customer(connection, customer)["id"]
    if box_id is not None:
        box = connection.execute("SELECT customer_id FROM boxes WHERE id = ?", (box_id,)).fetchone()
        if box is None or box["customer_id"] != customer_id:
            raise not_found("box", box_id, "a token for replaced hardware names a box of the same customer")
        uses = 1
    token = f"opt_{secrets.token_urlsafe(32)}"
    row = connection.execute(
        """INSERT INTO tokens (id, hash, customer_id, uses_left, expires_at, box_id, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *""",
        (f"t-{secrets.token_hex(6)}", digest(token), customer_id, uses, now + int(ttl_s * 1000), box_id, now),
    ).fetchone()
    return row, token


def revoke_token(connection: Connection, token_id: str, customer_id: str | None, now: int) -> Row:
    """Revoke a token by its id."""
    row = connection.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone()
    if row is None or (customer_id is not None and row["customer_id"] != customer_id):
        raise not_found("token", token_id, "tokens are named by their id (t-…), see the list")
    return connection.execute(
        "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING *", (now, token_id)
    ).fetchone()


def token_row(connection: Connection, token: str) -> Row:
    """The token's row, used up or not; 401 where there is none."""
    row = connection.execute("SELECT * FROM tokens WHERE hash = ?", (digest(token),)).fetchone()
    if row is None:
        raise Refusal(
            401,
            "bad_token",
            "the enrolment token is unknown",
            hint="make one with 'operis-hub token add --customer NAME'",
        )
    return row


def check_token(row: Row, now: int) -> None:
    """403 where the token may not be used any more."""
    hint = "make a new one with 'operis-hub token add --customer NAME'"
    if row["revoked_at"] is not None:
        raise Refusal(403, "token_revoked", "the enrolment token was revoked", hint=hint)
    if row["expires_at"] is not None and row["expires_at"] <= now:
        raise Refusal(403, "token_expired", "the enrolment token has expired", hint=hint)
    if row["uses_left"] < 1:
        raise Refusal(403, "token_used", "the enrolment token is used up", hint=hint)


def use_token(connection: Connection, token_id: str) -> None:
    """Count one use."""
    connection.execute("UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?", (token_id,))


def check_plan(connection: Connection, customer_id: str) -> None:
    """403 where the customer's plan allows no further box."""
    plan = connection.execute("SELECT plan FROM customers WHERE id = ?", (customer_id,)).fetchone()["plan"]
    limit = PLAN_BOXES.get(plan)
    if limit is None:
        return
    count = connection.execute(
        "SELECT count(*) FROM boxes WHERE customer_id = ? AND standing != 'revoked'", (customer_id,)
    ).fetchone()[0]
    if count >= limit:
        detail = f"plan '{plan}' allows {limit} {'box' if limit == 1 else 'boxes'} and {count} are enrolled"
        raise Refusal(403, "plan_limit", detail, hint="revoke a box or choose a larger plan")


def _open_customer(connection: Connection, name_or_id: str) -> Row:
    row = find_customer(connection, name_or_id)
    if row["revoked_at"] is not None:
        raise Refusal(409, "customer_revoked", f"customer '{row['name']}' is revoked", hint="use another customer")
    return row


def hub_name(connection: Connection) -> str:
    """This hub's own name, made on first use; boxes pin it when they enrol."""
    return _once(connection, "hub_name", f"hub-{secrets.token_hex(6)}")


def signing_key(connection: Connection) -> bytes:
    """The key of what this hub signs, made on first use."""
    return bytes.fromhex(_once(connection, "signing_key", secrets.token_hex(KEY_BYTES)))


def _once(connection: Connection, key: str, value: str) -> str:
    """What was remembered under `key`; `value` where nothing was."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return str(row["value"])
    connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
    return value

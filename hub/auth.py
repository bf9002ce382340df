"""Whose key a request carries, and what it may do. Answers are kept for as long as no right changes."""

from typing import Final

from hub import tenancy
from hub.errors import Refusal, forbidden
from hub.store import Row, Store
from hub.tenancy import RANK, Principal, Role

_CACHE_KEYS: Final = 10_000


class Auth:
    """Looks keys up in the store; `rights_changed` forgets what it knew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Principal] = {}
        self._held: set[str] = set()
        self._epoch: str | None = None

    def principal(self, key: str | None) -> Principal:
        """The key's principal; 401 where there is no key or it is unknown or revoked."""
        if not key:
            raise Refusal(
                401, "no_key", "the request carries no API key", hint="send 'Authorization: Bearer KEY' with a key"
            )
        known = self._known.get(key)
        if known is not None:
            return known
        rows = self._store.read_now("SELECT * FROM keys WHERE hash = ? AND revoked_at IS NULL", (tenancy.digest(key),))
        if not rows:
            raise Refusal(
                401,
                "bad_key",
                "the API key is unknown or revoked",
                hint="make one with 'operis-hub key add --customer NAME --role operator'",
            )
        principal = _principal(rows[0])
        if len(self._known) >= _CACHE_KEYS:
            self._known.clear()
        self._known[key] = principal
        return principal

    def by_id(self, key_id: str) -> Principal | None:
        """The principal of a key that is good still."""
        rows = self._store.read_now("SELECT * FROM keys WHERE id = ? AND revoked_at IS NULL", (key_id,))
        return _principal(rows[0]) if rows else None

    def holds(self, principal: Principal) -> bool:
        """Whether the principal's key is still good: for what lasts longer than one request."""
        if principal.key_id in self._held:
            return True
        rows = self._store.read_now("SELECT 1 FROM keys WHERE id = ? AND revoked_at IS NULL", (principal.key_id,))
        if rows:
            self._held.add(principal.key_id)
        return bool(rows)

    def forget(self) -> None:
        """A right was taken away: look everything up again."""
        self._known.clear()
        self._held.clear()

    def rights_changed(self) -> bool:
        """Whether rights changed since the last call; a command beside us counts too. For the one who cuts off."""
        rows = self._store.read_now("SELECT value FROM meta WHERE key = 'rights_epoch'")
        epoch = str(rows[0]["value"]) if rows else "0"
        changed = epoch != self._epoch
        self._epoch = epoch
        if changed:
            self.forget()
        return changed


def _principal(row: Row) -> Principal:
    return Principal(row["id"], Role(row["role"]), row["customer_id"], f"key {row['id']}")


def require(principal: Principal, role: Role) -> None:
    """403 where the principal's role is below `role`."""
    if RANK[principal.role] < RANK[role]:
        raise forbidden(f"this needs the role {role}; the key has {principal.role}", f"use a key with role {role}")


def bearer(header: str | None) -> str | None:
    """The key in an Authorization header."""
    if header is None:
        return None
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None

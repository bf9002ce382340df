"""The platform admin's key: hashed in the database, whole only in DIR/admin.key (mode 0600)."""

import os
import time
from pathlib import Path
from typing import Final

from hub import tenancy
from hub.store import Connection, transact
from hub.tenancy import Role

FILE: Final = "admin.key"


def ensure_admin_key(data: Path, connection: Connection) -> str:
    """The key; made where there is none, or where the file was lost or does not fit the database."""

    def ensure(c: Connection) -> str:
        path = data / FILE
        key = path.read_text(errors="replace").strip() if path.exists() else ""
        known = tenancy.principal(c, key) if key else None
        return key if known is not None and known.role is Role.PLATFORM else _rotate(data, c)

    return transact(connection, ensure)


def rotate_admin_key(data: Path, connection: Connection) -> str:
    """Replace the key. A crash between the file and the database is mended by `ensure_admin_key` at the next start."""
    return transact(connection, lambda c: _rotate(data, c))


def _rotate(data: Path, connection: Connection) -> str:
    # The file is written under the database's lock, so that two who do this at once leave the key that counts in it.
    key = tenancy.rotate_admin_key(connection, time.time_ns() // 1_000_000)
    temporary = data / f".{FILE}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, f"{key}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(data / FILE)
    return key

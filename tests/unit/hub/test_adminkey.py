"""The platform admin's key and its file."""

import threading
from pathlib import Path

from hub import tenancy
from hub.adminkey import FILE, ensure_admin_key, rotate_admin_key
from hub.store import open_database
from hub.tenancy import Role


def test_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")
    key = ensure_admin_key(tmp_path, connection)
    assert ensure_admin_key(tmp_path, connection) == key
    assert (tmp_path / FILE).read_text() == f"{key}\n"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    found = tenancy.principal(connection, key)
    assert found is not None
    assert (found.role, found.customer_id) == (Role.PLATFORM, None)
    connection.close()


def test_file_that_is_lost_or_does_not_fit_gets_a_new_key(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")
    first = ensure_admin_key(tmp_path, connection)
    for spoil in (b"", b"opk_other\n", b"\xff\xfe"):
        (tmp_path / FILE).write_bytes(spoil)
        key = ensure_admin_key(tmp_path, connection)
        assert key != first
        assert tenancy.principal(connection, first) is None
        first = key
    (tmp_path / FILE).unlink()
    assert ensure_admin_key(tmp_path, connection) != first
    connection.close()


def test_customers_key_in_the_file_is_not_taken_for_the_platforms(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")
    tenancy.add_customer(connection, "acme", "unlimited", 1)
    _, key = tenancy.add_key(connection, "acme", "admin", 1)
    (tmp_path / FILE).write_text(key)
    assert ensure_admin_key(tmp_path, connection) != key
    connection.close()


def test_rotation_ends_the_old_key(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")
    old = ensure_admin_key(tmp_path, connection)
    new = rotate_admin_key(tmp_path, connection)
    assert tenancy.principal(connection, old) is None
    assert tenancy.principal(connection, new) is not None
    assert ensure_admin_key(tmp_path, connection) == new
    connection.close()


def test_those_who_make_it_at_once_agree(tmp_path: Path) -> None:
    open_database(tmp_path / "hub.db").close()
    start = threading.Barrier(4)
    keys: list[str] = []

    def make() -> None:
        connection = open_database(tmp_path / "hub.db")
        start.wait()
        keys.append(ensure_admin_key(tmp_path, connection))
        connection.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(f".{FILE}")] == []

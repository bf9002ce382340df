"""Customers, keys and tokens in the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import tenancy
from hub.errors import Refusal
from hub.store import Connection, open_database

NOW = 1_700_000_000_000


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Connection]:
    connection = open_database(tmp_path / "hub.db")
    connection.execute("BEGIN")
    tenancy.add_customer(connection, "acme", "starter", NOW)
    yield connection
    connection.close()


def refused(status: int, code: str) -> "pytest.RaisesExc[Refusal]":
    return pytest.raises(
        Refusal, check=lambda error: (error.status, error.code, bool(error.hint)) == (status, code, True)
    )


def test_customers_name_is_its_own_and_printable(c: Connection) -> None:
    with refused(409, "exists"):
        tenancy.add_customer(c, "acme", "starter", NOW)
    for name in ("", " ", "x" * 101, "a\nb", "\0"):
        with refused(422, "invalid"):
            tenancy.add_customer(c, name, "starter", NOW)
    with refused(422, "invalid"):
        tenancy.add_customer(c, "new", "gold", NOW)


def test_unknown_customer_is_answered_with_those_that_are(c: Connection) -> None:
    with pytest.raises(Refusal, match="nobody") as caught:
        tenancy.find_customer(c, "nobody")
    assert "acme" in caught.value.hint


def test_revoked_customer_has_no_keys_tokens_or_boxes_left(c: Connection) -> None:
    _, key = tenancy.add_key(c, "acme", "admin", NOW)
    row, token = tenancy.add_token(c, "acme", 5, 60, None, NOW)
    tenancy.revoke_customer(c, "acme", NOW)
    assert tenancy.principal(c, key) is None
    with refused(403, "token_revoked"):
        tenancy.check_token(tenancy.token_row(c, token), NOW)
    with refused(409, "customer_revoked"):
        tenancy.add_key(c, "acme", "admin", NOW)
    with refused(409, "customer_revoked"):
        tenancy.add_token(c, "acme", 1, 60, None, NOW)
    assert tenancy.revoke_customer(c, row["customer_id"], NOW + 1)["revoked_at"] == NOW


def test_token_is_good_for_its_uses_and_its_time(c: Connection) -> None:
    row, token = tenancy.add_token(c, "acme", 2, 60, None, NOW)
    for _ in range(2):
        tenancy.check_token(tenancy.token_row(c, token), NOW + 59_999)
        tenancy.use_token(c, row["id"])
    with refused(403, "token_used"):
        tenancy.check_token(tenancy.token_row(c, token), NOW)
    _, late = tenancy.add_token(c, "acme", 1, 60, None, NOW)
    with refused(403, "token_expired"):
        tenancy.check_token(tenancy.token_row(c, late), NOW + 60_000)
    with refused(401, "bad_token"):
        tenancy.token_row(c, "opt_unknown")


@pytest.mark.parametrize(
    ("uses", "ttl_s"), [(0, 60), (-1, 60), (10**7, 60), (1, 0), (1, -5), (1, 1e12), (1, float("nan"))]
)
def test_token_with_odd_limits_is_refused(c: Connection, uses: int, ttl_s: float) -> None:
    with refused(422, "invalid"):
        tenancy.add_token(c, "acme", uses, ttl_s, None, NOW)


def test_token_for_a_box_names_one_of_the_customers(c: Connection) -> None:
    with refused(404, "not_found"):
        tenancy.add_token(c, "acme", 1, 60, "box-9", NOW)


def test_role_of_a_customers_key_is_one_of_three(c: Connection) -> None:
    for role in ("platform", "root", ""):
        with refused(422, "invalid"):
            tenancy.add_key(c, "acme", role, NOW)


def test_only_the_owner_revokes_a_key_or_token(c: Connection) -> None:
    tenancy.add_customer(c, "other", "starter", NOW)
    row, _ = tenancy.add_key(c, "acme", "viewer", NOW)
    token, _ = tenancy.add_token(c, "acme", 1, 60, None, NOW)
    with refused(404, "not_found"):
        tenancy.revoke_key(c, row["id"], "someone", NOW)
    with refused(404, "not_found"):
        tenancy.revoke_token(c, token["id"], "someone", NOW)
    assert tenancy.revoke_key(c, row["id"], row["customer_id"], NOW)["revoked_at"] == NOW


def test_hub_keeps_its_name(c: Connection) -> None:
    assert tenancy.hub_name(c) == tenancy.hub_name(c)

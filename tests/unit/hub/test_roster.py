"""Enrolment: by token, once a key, within the plan."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import roster, tenancy
from hub.errors import Refusal
from hub.roster import Application
from hub.store import Connection, Row, open_database

NOW = 1_700_000_000_000


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Connection]:
    connection = open_database(tmp_path / "hub.db")
    connection.execute("BEGIN")
    for name, plan in {"acme": "unlimited", "other": "unlimited", "small": "starter"}.items():
        tenancy.add_customer(connection, name, plan, NOW)
    yield connection
    connection.close()


def token(c: Connection, customer: str = "acme", uses: int = 9, box: str | None = None) -> str:
    return tenancy.add_token(c, customer, uses, 60, box, NOW)[1]


def enrol(c: Connection, by: str, key: str, name: str = "box-1") -> tuple[Row, bool]:
    return roster.enrol(c, Application(by, key, name, "hw", "host"), NOW)


def refusal(*arguments: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        enrol(*arguments)
    assert caught.value.hint
    return caught.value.status, caught.value.code


def test_name_is_the_id_where_it_is_free_and_gets_a_number_where_not(c: Connection) -> None:
    by = token(c)
    assert [enrol(c, by, f"key-{number}")[0]["id"] for number in range(3)] == ["box-1", "box-1-2", "box-1-3"]
    assert enrol(c, token(c, "other"), "key-o")[0]["id"] == "box-1-4"


def test_same_key_is_the_same_box_even_by_a_token_that_is_used_up(c: Connection) -> None:
    by = token(c, uses=1)
    first, is_new = enrol(c, by, "key")
    again, is_new_again = enrol(c, by, "key", "another-name")
    assert (first["id"], is_new, again["id"], is_new_again) == ("box-1", True, "box-1", False)
    assert refusal(c, by, "key-2") == (403, "token_used")


def test_refused_enrolment_uses_nothing_up(c: Connection) -> None:
    by = token(c, "small", uses=2)
    enrol(c, by, "key-1")
    assert refusal(c, by, "key-2") == (403, "plan_limit")
    assert tenancy.token_row(c, by)["uses_left"] == 1
    roster.revoke(c, "box-1", None)
    assert enrol(c, by, "key-2")[1]


def test_key_of_another_customers_box_is_refused(c: Connection) -> None:
    enrol(c, token(c), "key")
    by = token(c, "other", uses=1)
    assert refusal(c, by, "key") == (409, "key_enrolled")
    assert tenancy.token_row(c, by)["uses_left"] == 1


def test_revoked_box_does_not_come_in_again_by_its_key(c: Connection) -> None:
    by = token(c)
    enrol(c, by, "key")
    roster.revoke(c, "box-1", None)
    assert refusal(c, by, "key") == (403, "box_revoked")


def test_token_for_a_box_gives_it_other_hardware(c: Connection) -> None:
    enrol(c, token(c), "key")
    roster.revoke(c, "box-1", None)
    by = token(c, box="box-1", uses=7)
    row, is_new = enrol(c, by, "key-2", "whatever")
    assert (row["id"], row["public_key"], row["standing"], is_new) == ("box-1", "key-2", "active", True)
    assert refusal(c, by, "key-3") == (403, "token_used")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 64, "ü", "a\n", "../x"])
def test_name_that_is_none_is_refused(c: Connection, name: str) -> None:
    assert refusal(c, token(c), "key", name) == (422, "invalid")


def test_unknown_token_is_refused(c: Connection) -> None:
    assert refusal(c, "opt_no", "key") == (401, "bad_token")


def test_only_copies_that_came_can_be_released(c: Connection) -> None:
    enrol(c, token(c), "key")
    with pytest.raises(Refusal) as caught:
        roster.release(c, "box-1", None, "copy")
    assert caught.value.status == 422
    roster.revoke(c, "box-1", None)
    with pytest.raises(Refusal) as caught:
        roster.release(c, "box-1", None, "copy")
    assert (caught.value.status, caught.value.code) == (409, "box_revoked")


def test_box_of_another_customer_is_not_found(c: Connection) -> None:
    enrol(c, token(c), "key")
    other = tenancy.find_customer(c, "other")["id"]
    for act in (roster.own_box, roster.revoke):
        with pytest.raises(Refusal) as caught:
            act(c, "box-1", other)
        assert caught.value.status == 404

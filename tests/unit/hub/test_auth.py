"""Keys and what they may do."""

import pytest

from hub import tenancy
from hub.auth import bearer, require
from hub.dispatch import now_ms
from hub.errors import Refusal
from hub.tenancy import RANK, Principal, Role
from tests.unit.hub.running import RunningHub


async def test_key_is_known_until_it_is_revoked(hub: RunningHub) -> None:
    key = await hub.key(role="viewer")
    principal = hub.auth.principal(key)
    assert (principal.role, hub.auth.principal(key)) == (Role.VIEWER, principal)
    await hub.job(lambda c: tenancy.revoke_key(c, principal.key_id, None, now_ms()))
    assert hub.auth.rights_changed()
    assert not hub.auth.rights_changed()
    with pytest.raises(Refusal) as caught:
        hub.auth.principal(key)
    assert (caught.value.status, caught.value.code) == (401, "bad_key")
    assert not hub.auth.holds(principal)


async def test_forgetting_does_not_hide_a_change_from_the_one_who_cuts_off(hub: RunningHub) -> None:
    await hub.job(tenancy.touch)
    hub.auth.forget()
    assert hub.auth.rights_changed()


async def test_key_that_is_missing_or_no_text_is_refused(hub: RunningHub) -> None:
    for key in (None, "", "opk_x", "\ud800", "x" * 100_000):
        with pytest.raises(Refusal) as caught:
            hub.auth.principal(key)
        assert caught.value.status == 401
        assert caught.value.hint


async def test_keys_are_kept_hashed(hub: RunningHub) -> None:
    key = await hub.key()
    token = await hub.token()
    kept = [value for table in ("keys", "tokens") for row in hub.rows(f"SELECT * FROM {table}") for value in row]  # noqa: S608
    assert key not in kept
    assert token not in kept
    assert hub.admin_key not in kept


@pytest.mark.parametrize("has", Role)
@pytest.mark.parametrize("needs", Role)
def test_role_may_what_those_below_it_may(has: Role, needs: Role) -> None:
    principal = Principal("k", has, None, "me")
    if RANK[has] >= RANK[needs]:
        require(principal, needs)
    else:
        with pytest.raises(Refusal) as caught:
            require(principal, needs)
        assert caught.value.status == 403
        assert caught.value.hint


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("Bearer k", "k"), ("bearer  k ", "k"), ("Basic k", None), ("k", None), ("Bearer", "")],
)
def test_bearer_header_is_read(header: str | None, key: str | None) -> None:
    assert bearer(header) == key

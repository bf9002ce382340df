"""Paths of customers, keys and tokens."""

from tests.unit.hub.http import Http
from tests.unit.hub.running import RunningHub


async def pages(http: Http, path: str) -> list[str]:
    """The ids of every page of two."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await http.get(f"{path}?limit=2&cursor={cursor}")
        assert answer.status == 200
        found += [item["id"] for item in answer.json()["items"]]
        cursor = answer.json()["next"]
    return found


async def test_key_is_shown_once_works_and_can_be_revoked(hub: RunningHub) -> None:
    admin = hub.http(await hub.key(role="admin"))
    made = await admin.post("/api/v1/keys", {"role": "viewer"})
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    viewer = hub.http(made.json()["key"])
    assert (await viewer.get("/api/v1/boxes")).status == 200
    listed = (await admin.get("/api/v1/keys")).json()["items"]
    assert made.json()["id"] in [item["id"] for item in listed]
    assert not [item for item in listed if item.get("key")]
    gone = await admin("DELETE", f"/api/v1/keys/{made.json()['id']}")
    assert gone.json()["revoked_at"]
    assert (await viewer.get("/api/v1/boxes")).status == 401


async def test_admin_of_a_customer_makes_keys_for_it_alone(hub: RunningHub) -> None:
    await hub.customer("other")
    admin = hub.http(await hub.key(role="admin"))
    assert (await admin.post("/api/v1/keys", {"role": "viewer", "customer": "other"})).status == 403
    assert (await admin.post("/api/v1/keys", {"role": "viewer", "customer": "none"})).status == 403
    acme = hub.rows("SELECT id FROM customers WHERE name = 'acme'")[0]["id"]
    for own in ("acme", acme):
        assert (await admin.post("/api/v1/keys", {"role": "viewer", "customer": own})).json()["customer_id"] == acme
        assert (await admin.post("/api/v1/tokens", {"customer": own})).json()["customer_id"] == acme
    assert (await admin.post("/api/v1/keys", {"role": "platform"})).status == 422
    platform = hub.http(hub.admin_key)
    assert (await platform.post("/api/v1/keys", {"role": "viewer"})).status == 422
    assert (await platform.post("/api/v1/keys", {"role": "viewer", "customer": "none"})).status == 404
    assert (await platform.post("/api/v1/keys", {"role": "viewer", "customer": "other"})).status == 201


async def test_customer_is_added_once_listed_and_revoked(hub: RunningHub) -> None:
    platform = hub.http(hub.admin_key)
    made = await platform.post("/api/v1/customers", {"name": "new", "plan": "starter"})
    assert (made.status, made.json()["plan"]) == (201, "starter")
    assert (await platform.post("/api/v1/customers", {"name": "new"})).status == 409
    assert (await platform.post("/api/v1/customers", {"name": "n", "plan": "gold"})).status == 422
    key = await hub.key("new", "admin")
    own = await hub.http(key).get("/api/v1/customers")
    assert [item["name"] for item in own.json()["items"]] == ["new"]
    assert (await platform("DELETE", "/api/v1/customers/new")).json()["revoked_at"]
    hub.rights_changed()
    assert (await hub.http(key).get("/api/v1/customers")).status == 401


async def test_token_is_shown_once_counted_and_revoked(hub: RunningHub) -> None:
    admin = hub.http(await hub.key(role="admin"))
    made = (await admin.post("/api/v1/tokens", {"uses": 3, "ttl_s": 60})).json()
    assert made["token"]
    assert made["uses_left"] == 3
    for wrong in ({"uses": 0}, {"ttl_s": 0}, {"uses": True}, {"uses": 1.5}, {"ttl_s": "60"}, {"color": "red"}):
        assert (await admin.post("/api/v1/tokens", wrong)).status == 422
    assert (await admin.post("/api/v1/tokens", {"box_id": "none"})).status == 404
    listed = (await admin.get("/api/v1/tokens")).json()["items"]
    assert not [item for item in listed if item.get("token")]
    assert (await admin("DELETE", f"/api/v1/tokens/{made['id']}")).json()["revoked_at"]
    body = {"token": made["token"], "public_key": "A" * 43 + "=", "name": "b"}
    assert (await hub.http(None).post("/api/v1/enrol", body)).status in {403, 422}


async def test_lists_are_filtered_by_fields(hub: RunningHub) -> None:
    await hub.customer("other")
    admin = hub.http(await hub.key(role="admin"))
    for customer in ("acme", "other"):
        await hub.key(customer, "viewer")
        await hub.token(customer)
    platform = hub.http(hub.admin_key)
    names = {row["id"]: row["name"] for row in hub.rows("SELECT id, name FROM customers")}

    async def found(http: Http, path: str) -> list[tuple[str | None, str | None]]:
        items = (await http.get(f"/api/v1/{path}")).json()["items"]
        return sorted((names.get(item["customer_id"]), item.get("role")) for item in items)

    assert await found(platform, "keys?customer=acme") == [("acme", "admin"), ("acme", "viewer")]
    assert await found(platform, "keys?role=viewer") == [("acme", "viewer"), ("other", "viewer")]
    assert await found(platform, "keys?role=viewer&customer=other&limit=1") == [("other", "viewer")]
    assert await found(platform, "keys?customer=none") == []
    assert await found(platform, "tokens?customer=other") == [("other", None)]
    assert await found(admin, "keys?customer=other") == []
    assert await found(admin, "tokens?customer=other") == []
    assert await found(admin, "keys?role=viewer") == [("acme", "viewer")]
    for wrong in ("keys?role=emperor", "tokens?role=viewer", "customers?customer=acme"):
        assert (await platform.get(f"/api/v1/{wrong}")).status == 422


async def test_lists_come_in_pages(hub: RunningHub) -> None:
    for number in range(4):
        await hub.customer(f"c{number}")
        await hub.key()
        await hub.token()
    platform = hub.http(hub.admin_key)
    for table in ("customers", "keys", "tokens"):
        expected = [row["id"] for row in hub.rows(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608
        assert await pages(platform, f"/api/v1/{table}") == expected

"""Paths of boxes and the fleet."""

from tests.unit.hub.http import Http
from tests.unit.hub.peer import event
from tests.unit.hub.running import RunningHub, make

FIELDS = {"id", "name", "customer", "status", "tags", "last_seen_at", "queue", "inventory"}


async def test_box_has_every_field_and_its_queue(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    first = await make(http, "box-1")
    await make(http, "box-1")
    await box.commands(2)
    await box.report(event(first, "running"), ack=2)
    shown = (await http.get("/api/v1/boxes/box-1")).json()
    assert set(shown) >= FIELDS
    assert (shown["status"], shown["queue"], shown["customer"]) == ("connected", {"queued": 1, "running": 1}, "acme")
    (listed,) = (await http.get("/api/v1/boxes")).json()["items"]
    assert {name: listed[name] for name in FIELDS - {"last_seen_at"}} == {
        name: shown[name] for name in FIELDS - {"last_seen_at"}
    }


async def test_long_list_comes_in_pages_and_is_filtered(hub: RunningHub, http: Http) -> None:
    for number in range(7):
        await hub.box(f"box-{number}")
    box = await hub.box("live")
    await box.connect()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await http.get(f"/api/v1/boxes?limit=3&cursor={cursor}")).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == [*(f"box-{number}" for number in range(7)), "live"]
    live = (await http.get("/api/v1/boxes?status=connected")).json()
    assert ([item["id"] for item in live["items"]], live["next"]) == (["live"], None)
    never = (await http.get("/api/v1/boxes?status=never&limit=7")).json()
    assert (len(never["items"]), never["next"]) == (7, None)
    assert [item["id"] for item in (await http.get("/api/v1/boxes?name=box-3")).json()["items"]] == ["box-3"]
    assert (await http.get("/api/v1/boxes?status=asleep")).status == 422
    await hub.customer("other")
    await hub.box("theirs", "other")
    platform = hub.http(hub.admin_key)
    assert [item["id"] for item in (await platform.get("/api/v1/boxes?customer=other")).json()["items"]] == ["theirs"]
    assert len((await http.get("/api/v1/boxes?customer=acme")).json()["items"]) == 8
    assert (await http.get("/api/v1/boxes?customer=other")).json()["items"] == []
    assert (await platform.get("/api/v1/boxes?customer=none")).json()["items"] == []


async def test_fleet_counts_boxes_by_status_and_open_tasks_by_state(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await hub.box("box-2")
    await box.connect()
    await make(http, "box-1")
    await make(http, "box-2")
    fleet = (await http.get("/api/v1/fleet")).json()
    assert fleet["boxes"] == {"never": 1, "connected": 1, "stale": 0, "lost": 0, "quarantined": 0, "revoked": 0}
    assert fleet["tasks"] == {"queued": 2, "accepted": 0, "running": 0}


async def test_revoked_box_is_shown_as_such_and_its_records_stay(hub: RunningHub) -> None:
    await hub.box()
    admin = hub.http(await hub.key(role="admin"))
    task_id = await make(admin, "box-1")
    answer = await admin.post("/api/v1/boxes/box-1/revoke")
    assert (answer.json()["status"], bool(answer.json()["why"])) == ("revoked", True)
    assert (await admin.post("/api/v1/boxes/box-1/revoke")).status == 200
    assert (await admin.get(f"/api/v1/tasks/{task_id}")).status == 200
    assert (await admin.post("/api/v1/boxes/box-1/release", {"copy_id": "x"})).status == 409

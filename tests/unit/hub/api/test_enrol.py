"""The path by which a box enrols."""

import asyncio

from cloudsync import identity
from tests.unit.hub.running import RunningHub


async def test_box_is_told_its_id_its_hub_and_its_customer(hub: RunningHub) -> None:
    client, key = hub.http(None), identity.public_key(identity.new_key())
    body = {"token": await hub.token(), "public_key": key, "name": "box-1", "hwid": "h", "hostname": "mini"}
    first = await client.post("/api/v1/enrol", body)
    assert (first.status, first.json()) == (
        201,
        {"box_id": "box-1", "hub": hub.context.hub_name, "customer": "acme"},
    )
    again = await client.post("/api/v1/enrol", body | {"name": "other"})
    assert (again.status, again.json()) == (200, first.json())
    shown = (await hub.http(hub.admin_key).get("/api/v1/boxes/box-1")).json()
    assert shown["inventory"] == {"hostname": "mini"}


async def test_boxes_that_ask_at_once_for_one_name_get_one_each(hub: RunningHub) -> None:
    token = await hub.token(uses=5)

    async def enrol() -> tuple[int, str]:
        key = identity.public_key(identity.new_key())
        answer = await hub.http(None).post("/api/v1/enrol", {"token": token, "public_key": key, "name": "box"})
        return answer.status, answer.json().get("box_id") or answer.json()["code"]

    found = sorted(await asyncio.gather(*(enrol() for _ in range(7))))
    names = ["box", "box-2", "box-3", "box-4", "box-5"]
    assert found == [(201, name) for name in names] + [(403, "token_used")] * 2


async def test_plan_limits_a_customers_boxes(hub: RunningHub) -> None:
    for plan, limit in {"starter": 1, "professional": 3, "enterprise": 10}.items():
        await hub.customer(plan, plan)
        for number in range(limit):
            await hub.box(f"{plan}-{number}", plan)
        key = identity.public_key(identity.new_key())
        body = {"token": await hub.token(plan), "public_key": key, "name": "more"}
        answer = await hub.http(None).post("/api/v1/enrol", body)
        assert (answer.status, answer.json()["code"]) == (403, "plan_limit")


async def test_what_is_no_key_or_name_is_refused(hub: RunningHub) -> None:
    token = await hub.token()
    good = identity.public_key(identity.new_key())
    for key, name, field in [
        ("x", "box", "public_key"),
        ("", "box", "public_key"),
        (good[:-2] + "==", "box", "public_key"),
        (good + "\n", "box", "public_key"),
        (good, "a b", "name"),
        (good, "", "name"),
    ]:
        answer = await hub.http(None).post("/api/v1/enrol", {"token": token, "public_key": key, "name": name})
        assert (answer.status, answer.json()["errors"][0]["field"]) == (422, field)
    answer = await hub.http(None).post("/api/v1/enrol", {"token": token, "public_key": good, "name": "b", "x": 1})
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "x")


async def test_replaced_hardware_takes_the_place_of_its_box(hub: RunningHub) -> None:
    old = await hub.box()
    await old.connect()
    new_key = identity.new_key()
    body = {
        "token": await hub.token(box="box-1"),
        "public_key": identity.public_key(new_key),
        "name": "whatever",
        "hwid": "hw-new",
    }
    answer = await hub.http(None).post("/api/v1/enrol", body)
    assert (answer.status, answer.json()["box_id"]) == (201, "box-1")
    new = hub.mine(type(old)(hub.relay_url, "box-1", new_key, "hw-new"))
    new.session = old.session
    await new.connect()
    assert (await old.closed())[0] == 4001
    verdict = await old.greet()
    assert getattr(verdict, "code", "") == "bad_signature"

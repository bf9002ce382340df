"""The path of events: what happens, once and in order, however often the reader comes again."""

import asyncio

import pytest

from hub import tenancy
from hub.dispatch import SUBSCRIBER_ENTRIES, now_ms
from tests.unit.hub.http import Http
from tests.unit.hub.peer import event, outcome, some_id
from tests.unit.hub.running import RunningHub, make

FIELDS = {"n", "id", "box_id", "incarnation", "seq", "type", "task_id", "state", "at", "stored_at", "detail"}


async def test_event_has_its_fields_and_its_place(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    async with http.events("/api/v1/events") as events:
        task_id = await make(http, box.box_id)
        await http.post(f"/api/v1/tasks/{task_id}/cancel")
        entry = await events.next()
    assert entry is not None
    assert set(entry.data) == FIELDS
    assert (entry.name, entry.id) == ("task", str(entry.data["n"]))
    assert (entry.data["task_id"], entry.data["state"], entry.data["seq"]) == (task_id, "cancelled", 0)


async def test_reader_who_comes_again_and_again_under_load_misses_nothing_and_sees_nothing_twice(
    hub: RunningHub, http: Http
) -> None:
    box = await hub.box()
    await box.connect()
    total = 1500

    async def load() -> None:
        for _ in range(total // 15):
            await box.report(*(event(some_id(), "running") for _ in range(15)))

    loading = asyncio.create_task(load())
    seen: list[int] = []
    last = "0"
    while len(seen) < total:
        async with http.events("/api/v1/events", Last_Event_ID=last) as events:
            for _ in range(min(170, total - len(seen))):
                entry = await events.next()
                assert entry is not None
                seen.append(entry.data["seq"])
                last = entry.id
    await loading
    assert seen == [*range(1, total + 1)]


async def test_filters_and_customers(hub: RunningHub, http: Http) -> None:
    await hub.customer("other")
    mine, second, theirs = await hub.box(), await hub.box("box-2"), await hub.box("box-3", "other")
    for box in (mine, second, theirs):
        await box.connect()
    ids = [some_id() for _ in range(3)]
    for task_id, box in zip(ids, (mine, second, theirs), strict=True):
        await box.report(event(task_id, "succeeded", outcome(0)))

    async def first(client: Http, query: str) -> str:
        async with client.events(f"/api/v1/events?after=0{query}") as events:
            entry = await events.next()
            assert entry is not None
            return str(entry.data["task_id"])

    assert await first(http, "") == ids[0]
    assert await first(http, "&box_id=box-2") == ids[1]
    assert await first(http, f"&task_id={ids[1]}") == ids[1]
    assert await first(hub.http(await hub.key("other", "viewer")), "") == ids[2]
    assert await first(hub.http(hub.admin_key), "&box_id=box-3") == ids[2]


async def test_reader_that_is_too_slow_is_cut_off_and_resumes(hub: RunningHub) -> None:
    subscriber = hub.dispatch.subscribe(None)
    box = await hub.box()
    await box.connect()
    for _ in range(SUBSCRIBER_ENTRIES // 200 + 1):
        await box.report(*(event(some_id(), "running") for _ in range(200)))
    assert subscriber.behind
    assert len(subscriber.entries) == SUBSCRIBER_ENTRIES
    hub.dispatch.unsubscribe(subscriber)


async def test_reader_whose_key_is_revoked_is_cut_off(hub: RunningHub) -> None:
    key = await hub.key(role="viewer")
    key_id = hub.auth.principal(key).key_id
    async with hub.http(key).events("/api/v1/events") as events:
        await hub.job(lambda c: tenancy.revoke_key(c, key_id, None, now_ms()))
        hub.rights_changed()
        async with asyncio.timeout(5):
            assert await events.next() is None


@pytest.mark.parametrize(("header", "query"), [("x", ""), ("-1", ""), ("9" * 16, ""), (None, "?after=x")])
async def test_place_that_is_none_is_refused(http: Http, header: str | None, query: str) -> None:
    headers = {} if header is None else {"Last_Event_ID": header}
    answer = await http.get(f"/api/v1/events{query}", **headers)
    assert (answer.status, answer.json()["code"]) == (422, "invalid")

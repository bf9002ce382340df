"""Paths of tasks."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from cloudsync.steps import ACTIONS
from cloudsync.task import TaskState
from hub import ledger
from hub.dispatch import new_id, now_ms
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, event, outcome
from tests.unit.hub.running import RunningHub, bash, look, make

FIELDS = {
    "id", "box_id", "kind", "spec", "origin", "created_by", "state", "delivery", "attempt", "created_at", "deliver_by",
    "delivered_at", "accepted_at", "started_at", "ended_at", "synced_at", "exit_code", "stdout", "stderr", "truncated",
    "error", "result", "artifacts", "known_as_of",
}  # fmt: skip
TASKS = "/api/v1/boxes/box-1/tasks"


@pytest.fixture
async def box(hub: RunningHub) -> Peer:
    """An enrolled box that is away."""
    return await hub.box()


async def test_created_task_has_every_field_and_its_address(http: Http, box: Peer) -> None:
    answer = await http.post(TASKS, bash("echo", stdin="x", env={"A": "b"}, cwd="/tmp"))
    task = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/api/v1/tasks/{task['id']}"
    assert set(task) == FIELDS
    assert (task["state"], task["delivery"], task["origin"], task["box_id"]) == ("queued", "unsent", "hub", "box-1")
    assert task["spec"] == {
        "kind": "bash.exec", "command": "echo", "stdin": "x", "env": {"A": "b"}, "cwd": "/tmp", "timeout_s": 60.0,
        "deliver_within_s": 86400.0, "idempotent": False,
    }  # fmt: skip
    assert await look(http, task["id"]) == task


async def test_wait_ends_with_the_task_or_goes_on_without(hub: RunningHub, http: Http, box: Peer) -> None:
    answer = await http.post(f"{TASKS}?wait_s=0.05", bash())
    assert (answer.status, answer.json()["state"]) == (202, "queued")
    await box.connect()
    await box.finish((await box.commands(1))[0]["task_id"])
    waiting = asyncio.create_task(http.post(f"{TASKS}?wait_s=20", bash()))
    await box.finish((await box.commands(1))[0]["task_id"], outcome(1, b"no\n"), "failed")
    answer = await waiting
    assert (answer.status, answer.json()["state"], answer.json()["stdout"]) == (200, "failed", "no\n")
    assert hub.dispatch._waiters == {}


async def test_same_key_and_body_give_the_same_task_however_it_is_asked(hub: RunningHub, http: Http, box: Peer) -> None:
    body, key = bash("echo once"), {"Idempotency_Key": "k-1"}
    made = await http.post(TASKS, body, **key)
    assert made.status == 201
    again = await http.post(TASKS, {"command": "echo once", "kind": "bash.exec", "timeout_s": 60}, **key)
    assert (again.status, again.json()["id"]) == (202, made.json()["id"])
    other = await http.post(TASKS, bash("echo twice"), **key)
    assert (other.status, other.json()["task_id"]) == (409, made.json()["id"])
    assert (await http.post(f"{TASKS}?wait_s=0", body, **key)).status == 202
    await box.connect()
    (command,) = await box.commands(1)
    waiting = asyncio.create_task(http.post(f"{TASKS}?wait_s=20", body, **key))
    await box.finish(command["task_id"])
    assert ((await waiting).status, (await waiting).json()["state"]) == (200, "succeeded")
    assert (await http.post(TASKS, body, **key)).status == 200
    await hub.job(lambda c: c.execute("DELETE FROM tasks").rowcount)
    gone = await http.post(TASKS, body, **key)
    assert (gone.status, gone.json()["task_id"]) == (410, made.json()["id"])


async def test_one_key_at_once_makes_one_task(hub: RunningHub, http: Http, box: Peer) -> None:
    await box.connect()
    paths = [TASKS, f"{TASKS}?wait_s=20"] * 8
    asking = asyncio.gather(*(http.post(path, bash(), Idempotency_Key="same") for path in paths))
    (command,) = await box.commands(1)
    await hub.settle()
    await box.finish(command["task_id"])
    answers = await asking
    assert {answer.json()["id"] for answer in answers} == {command["task_id"]}
    assert sum(answer.status == 201 for answer in answers) <= 1
    assert {answer.status for answer in answers} <= {200, 201, 202}


async def test_customers_may_use_the_same_key(hub: RunningHub, http: Http, box: Peer) -> None:
    await hub.customer("other")
    await hub.box("box-9", "other")
    first = await http.post(TASKS, bash(), Idempotency_Key="k")
    second = await hub.http(await hub.key("other")).post("/api/v1/boxes/box-9/tasks", bash(), Idempotency_Key="k")
    assert (first.status, second.status) == (201, 201)


@pytest.mark.parametrize("state", TaskState)
async def test_cancel_in_every_state(hub: RunningHub, http: Http, box: Peer, state: TaskState) -> None:
    task_id = await make(http, box.box_id)
    if state is TaskState.QUEUED:
        answer = await http.post(f"/api/v1/tasks/{task_id}/cancel")
        assert (answer.status, answer.json()["state"]) == (200, "cancelled")
        assert answer.json()["error"]["message"]
        return
    await box.connect()
    await box.commands(1)
    await box.report(event(task_id, state, outcome(0) if state not in {"accepted", "running"} else None), ack=1)
    answer = await http.post(f"/api/v1/tasks/{task_id}/cancel")
    assert (answer.status, answer.json()["state"]) == (200, state)
    if state in {TaskState.ACCEPTED, TaskState.RUNNING}:
        assert (await box.commands(1))[0]["type"] == "cancel"
        await box.report(event(task_id, "cancelled", outcome(None)), ack=2)
        assert (await look(http, task_id))["state"] == "cancelled"
    else:
        assert hub.rows("SELECT 1 FROM commands") == []


async def test_task_that_nobody_took_expires(hub: RunningHub, http: Http, box: Peer) -> None:
    waiting = asyncio.create_task(http.post(f"{TASKS}?wait_s=20", bash(deliver_within_s=0.05)))
    await asyncio.sleep(0.1)
    hub.dispatch.tell(await hub.job(lambda c: ledger.expire(c, now_ms(), new_id)))
    task = (await waiting).json()
    assert (task["state"], task["delivery"], task["error"]["code"]) == ("expired", "unsent", "expired")
    assert task["error"]["hint"]


async def test_long_list_comes_in_pages_without_holes_or_doubles(hub: RunningHub, http: Http, box: Peer) -> None:
    made = [await make(http, box.box_id, f"echo {number}") for number in range(25)]
    for path in ("/api/v1/tasks", TASKS):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await http.get(f"{path}?limit=7{f'&cursor={cursor}' if cursor else ''}")).json()
            assert len(page["items"]) <= 7
            seen += [item["id"] for item in page["items"]]
            # What is made meanwhile is newer than every further page.
            await make(http, box.box_id)
            cursor = page["next"]
        assert [task_id for task_id in seen if task_id in made] == made[::-1]
        assert len(seen) == len(set(seen))


async def test_list_is_filtered_by_fields(hub: RunningHub, http: Http, box: Peer) -> None:
    await hub.box("box-2")
    first, second = await make(http, "box-1"), await make(http, "box-2")
    await http.post(f"/api/v1/tasks/{first}/cancel")

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await http.get(f"/api/v1/tasks?{query}")).json()["items"]]

    assert await ids("state=cancelled") == [first]
    assert await ids("box_id=box-2&state=queued&kind=bash.exec&origin=hub") == [second]
    assert await ids("origin=local") == []
    assert await ids("delivery=unsent&box_id=box-2") == [second]
    assert await ids("delivery=confirmed") == []
    maker = (await look(http, first))["created_by"]
    await make(hub.http(await hub.key()), "box-1")
    assert await ids(f"created_by={quote(maker)}") == [second, first]
    assert await ids("created_by=nobody") == []
    assert await ids("box_id=none") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "limit=0000000000001999999", "limit=-1", "cursor=x", "cursor=" + "9" * 5000,
     "state=flying", "kind=x", "origin=x", "delivery=x", "color=red", "wait_s=1"],
)  # fmt: skip
async def test_query_that_is_wrong_is_named(http: Http, query: str) -> None:
    answer = await http.get(f"/api/v1/tasks?{query}")
    problem = answer.json()
    assert (answer.status, problem["code"]) == (422, "invalid")
    assert problem["errors"][0]["field"] == query.partition("=")[0]
    assert problem["hint"]


WRONG_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"command": "x"}, "kind"),
    ({"kind": "bash.exec"}, "command"),
    (bash(""), "command"),
    (bash("a\0b"), "command"),
    (bash(timeout_s=0), "timeout_s"),
    (bash(timeout_s="60"), "timeout_s"),
    (bash(timeout_s=86_401), "timeout_s"),
    (bash(timeout_s=True), "timeout_s"),
    (bash(deliver_within_s=30 * 86_400 + 1), "deliver_within_s"),
    (bash(idempotent=1), "idempotent"),
    (bash(cwd="relative"), "cwd"),
    (bash(env={"1A": "x"}), "env"),
    (bash(env={"PATH": 1}), "env"),
    (bash(env=["A=b"]), "env"),
    (bash(stdin=b"".hex().encode().decode() or 5), "stdin"),
    (bash(color="red"), "color"),
]


async def test_field_that_is_wrong_is_named(http: Http, box: Peer) -> None:
    for body, field in WRONG_BODIES:
        answer = await http.post(TASKS, body)
        assert (answer.status, body, answer.json()["errors"][0]["field"].partition(".")[0]) == (422, body, field)


async def test_wait_and_key_that_are_wrong_are_named(http: Http, box: Peer) -> None:
    for wait in ("-1", "301", "x", "nan", "inf", ""):
        assert (await http.post(f"{TASKS}?wait_s={wait}", bash())).status == 422
    for key in ("", "x" * 256, "a\tb", "\xff\x80"):
        assert (await http.post(TASKS, bash(), Idempotency_Key=key)).status == 422
    assert (await http.post(TASKS, bash("#" + "x" * 270_000))).status == 413
    assert (await http.get("/api/v1/tasks")).json()["items"] == []


async def test_finished_task_is_known_since_it_was_stored_and_an_open_one_since_its_box_spoke(
    hub: RunningHub, http: Http, box: Peer
) -> None:
    task_id = await make(http, box.box_id)
    created = await look(http, task_id)
    assert created["known_as_of"] == created["created_at"]
    await box.connect()
    await box.commands(1)
    task = await look(http, task_id)
    heard = (await http.get("/api/v1/boxes/box-1")).json()["last_seen_at"]
    assert created["known_as_of"] < task["known_as_of"] <= heard
    await box.finish(task_id)
    task = await look(http, task_id)
    assert task["known_as_of"] == task["synced_at"]


async def test_bash_tasks_leave_no_artifacts(http: Http, box: Peer) -> None:
    task_id = await make(http, box.box_id)
    assert (await http.get(f"/api/v1/tasks/{task_id}/artifacts")).json() == {"items": [], "next": None}


def browse(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a browser task."""
    return {"kind": "browser.run", "steps": [{"action": "goto", "url": "https://example.com"}, *steps], **more}


async def test_browser_task_is_taken_and_shown_with_its_defaults(http: Http, box: Peer) -> None:
    made = await http.post(TASKS, browse({"action": "text", "selector": "h1"}, allow=["10.0.0.0/8"]))
    task = made.json()
    assert (made.status, task["kind"], task["spec"]["timeout_s"], task["spec"]["allow"]) == (
        201, "browser.run", 120.0, ["10.0.0.0/8"],
    )  # fmt: skip
    assert [step["action"] for step in task["spec"]["steps"]] == ["goto", "text"]
    listed = (await http.get("/api/v1/tasks?kind=browser.run")).json()["items"]
    assert [one["id"] for one in listed] == [task["id"]]


WRONG_STEPS: list[tuple[dict[str, Any], str, str]] = [
    (browse({"action": "click", "selector": "a", "selecter": "b"}), "steps.2.selecter",
     "step 2 (click): unknown field 'selecter', did you mean 'selector'?; it has "),
    (browse({"action": "clik"}), "steps.2.action",
     "step 2: unknown action 'clik', did you mean 'click'?; actions: goto, "),
    (browse({"action": "text", "timeout_s": 0}), "steps.2.timeout_s",
     "step 2 (text): timeout_s: Input should be greater"),
    (browse({"action": "fill", "selector": "a", "text": "{{x}}"}), "steps", "step 2 (fill): unknown variable 'x'"),
    (browse(allow=["http://a"]), "allow.0", "http://a is "),
    (browse(profile="../x"), "profile", "a profile's name has"),
]  # fmt: skip


async def test_wrong_step_is_named_by_number_with_what_is_allowed(http: Http, box: Peer) -> None:
    for body, field, message in WRONG_STEPS:
        answer = await http.post(TASKS, body)
        problem = answer.json()
        assert (answer.status, problem["errors"][0]["field"]) == (422, field)
        assert problem["errors"][0]["message"].startswith(message), problem["errors"][0]
        assert message in problem["detail"]
    answer = await http.post(TASKS, WRONG_STEPS[0][0])
    assert "selector" in answer.json()["errors"][0]["allowed"]
    assert (await http.get("/api/v1/tasks")).json()["items"] == []


async def test_schema_of_steps_is_published(http: Http) -> None:
    answer = await http.get("/api/v1/steps.schema.json")
    schema = answer.json()
    assert (answer.status, schema["$schema"], schema["type"]) == (
        200, "https://json-schema.org/draft/2020-12/schema", "array",
    )  # fmt: skip
    assert set(schema["items"]["discriminator"]["mapping"]) == set(ACTIONS)

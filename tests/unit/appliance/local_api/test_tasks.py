"""Tasks by the local API: made, listed, looked at, cancelled."""

import getpass
import json
from typing import Any

import pytest

from appliance.engine import Engine
from appliance.journal import DAY_MS
from appliance.live import now_ms
from tests.unit.appliance.engines import Engines, run_command, until
from tests.unit.appliance.local_api.caller import Call

ECHO = {"kind": "bash.exec", "command": "echo hi; echo oh >&2; exit 3"}
FIELDS = {
    "id", "box_id", "kind", "spec", "origin", "created_by", "state", "delivery", "attempt", "created_at", "deliver_by",
    "delivered_at", "accepted_at", "started_at", "ended_at", "synced_at", "exit_code", "stdout", "stderr", "truncated",
    "error", "result", "artifacts", "known_as_of",
}  # fmt: skip


async def test_a_task_is_made_by_the_user_who_asks_and_runs(call: Call) -> None:
    answer = await call("POST", "/tasks", ECHO)
    made = answer.json
    assert (answer.status, answer.headers["location"]) == (201, f"/tasks/{made['id']}")
    assert (made["origin"], made["created_by"], made["kind"]) == ("local", getpass.getuser(), "bash.exec")
    assert set(made) == FIELDS | {"synced"}

    while (task := (await call("GET", f"/tasks/{made['id']}")).json)["state"] not in {"failed", "succeeded"}:
        pass
    assert (task["state"], task["exit_code"], task["stdout"], task["stderr"]) == ("failed", 3, "hi\n", "oh\n")
    assert (task["truncated"], task["error"], task["artifacts"], task["synced"]) == (False, None, [], False)
    moments = [task[name] for name in ("created_at", "accepted_at", "started_at", "ended_at")]
    assert moments == sorted(moments)
    assert task["result"]["usage"]["max_rss_kb"] > 0


async def test_wait_s_answers_at_the_end_or_when_the_time_is_over(call: Call) -> None:
    answer = await call("POST", "/tasks?wait_s=30", ECHO)
    assert (answer.status, answer.json["exit_code"]) == (200, 3)
    answer = await call("POST", "/tasks?wait_s=0.05", {"kind": "bash.exec", "command": "sleep 60"})
    assert (answer.status, answer.json["state"]) == (202, "running")


async def test_one_key_makes_one_task(call: Call, served: Engine) -> None:
    slow = {"kind": "bash.exec", "command": "sleep 60"}
    first = await call("POST", "/tasks", slow, Idempotency_Key="k")
    again = await call("POST", "/tasks", slow, Idempotency_Key="k")
    assert (first.status, again.status, again.json["id"]) == (201, 202, first.json["id"])
    other = await call("POST", "/tasks", {**slow, "timeout_s": 5}, Idempotency_Key="k")
    assert (other.status, other.json["code"]) == (409, "key_reused")
    assert (await call("POST", "/tasks", slow, Idempotency_Key="k2")).json["id"] != first.json["id"]
    await call("POST", f"/tasks/{first.json['id']}/cancel")
    ended = await call("POST", "/tasks?wait_s=30", slow, Idempotency_Key="k")
    assert (ended.status, ended.json["state"]) == (200, "cancelled")
    served.journal.prune(now_ms() + 30 * DAY_MS, served.outbox.head, 7)
    await served.journal.committed([])
    gone = await call("POST", "/tasks", slow, Idempotency_Key="k")
    assert (gone.status, gone.json["code"]) == (410, "gone")
    assert (await call("GET", f"/tasks/{first.json['id']}")).status == 410


async def test_an_empty_or_endless_key_is_refused(call: Call) -> None:
    for key in ("", "x" * 256):
        assert (await call("POST", "/tasks", ECHO, Idempotency_Key=key)).status == 422


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"[]", 422, "body"),
        ({"kind": "bash.exec"}, 422, "command"),
        ({**ECHO, "color": "red"}, 422, "color"),
        ({**ECHO, "timeout_s": 0}, 422, "timeout_s"),
        ({"kind": "bash.exe", "command": "x"}, 422, "bash.exec"),
        ({"kind": "browser.run", "steps": [{"action": "clik"}]}, 422, "step 1"),
        ({**ECHO, "command": "x" * 400_000}, 413, "bytes"),
        (b" " * (2 * 1024 * 1024 + 1), 413, "larger than"),
    ],
)
async def test_a_wrong_body_is_refused_by_name(call: Call, body: object, status: int, says: str) -> None:
    answer = await call("POST", "/tasks", body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json["detail"]
    assert answer.json["hint"]
    assert (await call("GET", "/tasks")).json["items"] == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/tasks?limit=0", "1 to 500"),
        ("/tasks?limit=501", "1 to 500"),
        ("/tasks?limit=many", "1 to 500"),
        ("/tasks?limit=%C2%B2", "1 to 500"),
        ("/tasks?cursor=x", "cursor"),
        ("/tasks?cursor=99999999999999999999999", "cursor"),
        ("/tasks?state=done", "succeeded"),
        ("/tasks?kind=bash", "bash.exec"),
        ("/tasks?origin=moon", "local"),
        ("/tasks?box_id=b", "box_id"),
    ],
)
async def test_a_wrong_query_is_refused_with_what_is_allowed(call: Call, target: str, says: str) -> None:
    answer = await call("GET", target)
    assert answer.status == 422
    assert says in answer.json["detail"] + answer.json["hint"]
    assert answer.json["errors"][0]["allowed"]


@pytest.mark.parametrize("query", ["wait_s=301", "wait_s=-1", "wait_s=nan", "wait_s=x", "limit=1"])
async def test_a_wrong_query_makes_no_task(call: Call, query: str) -> None:
    assert (await call("POST", f"/tasks?{query}", ECHO)).status == 422
    assert (await call("GET", "/tasks")).json["items"] == []


async def test_tasks_are_listed_newest_first_a_page_at_a_time(call: Call, engines: Engines) -> None:
    ids = [(await engines.run(f"exit {code}")).task_id for code in range(3)]
    first = (await call("GET", "/tasks?limit=2")).json
    assert [(row["id"], row["state"], row["exit_code"]) for row in first["items"]] == [
        (ids[2], "failed", 2),
        (ids[1], "failed", 1),
    ]
    rest = (await call("GET", f"/tasks?limit=2&cursor={first['next']}")).json
    assert ([row["id"] for row in rest["items"]], rest["next"]) == ([ids[0]], None)
    assert [row["id"] for row in (await call("GET", "/tasks?state=succeeded")).json["items"]] == [ids[0]]
    assert (await call("GET", "/tasks?origin=hub")).json["items"] == []
    assert len((await call("GET", "/tasks?created_by=&origin=local&kind=bash.exec")).json["items"]) == 3


async def test_the_hubs_tasks_are_shown_as_what_they_are(call: Call, engines: Engines) -> None:
    await engines.apply(
        run_command("theirs", "echo hi"), {"type": "run", "task_id": "odd", "spec": {}, "remaining_s": 1}
    )
    await engines.wait("theirs")
    found: Any = {row["id"]: row for row in (await call("GET", "/tasks")).json["items"]}
    assert (found["theirs"]["origin"], found["theirs"]["created_by"]) == ("hub", "key-1")
    assert (found["odd"]["state"], found["odd"]["error"]["code"]) == ("rejected", "unknown_kind")
    assert json.dumps(found["odd"]["spec"]) == "{}"


async def test_a_running_task_is_cancelled_by_who_asks(call: Call, engines: Engines) -> None:
    made = (await call("POST", "/tasks", {"kind": "bash.exec", "command": "sleep 60"})).json
    answer = await call("POST", f"/tasks/{made['id']}/cancel")
    assert (answer.status, answer.json["state"]) == (200, "running")
    assert (await engines.wait(made["id"])).state == "cancelled"
    task = (await call("GET", f"/tasks/{made['id']}")).json
    assert f"by {getpass.getuser()}" in task["error"]["message"]
    again = await call("POST", f"/tasks/{made['id']}/cancel")
    assert (again.status, again.json["state"]) == (200, "cancelled")


@pytest.mark.parametrize("path", ["", "/cancel", "/output"])
async def test_an_unknown_task_is_not_found(call: Call, path: str) -> None:
    answer = await call("POST" if path == "/cancel" else "GET", f"/tasks/nobody{path}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "'nobody'" in answer.json["detail"]


async def test_a_box_that_is_stopping_or_full_takes_no_task(served: Engine, call: Call, engines: Engines) -> None:
    served.executor.close()
    answer = await call("POST", "/tasks", ECHO)
    assert (answer.status, answer.json["code"]) == (503, "stopping")


async def test_a_task_that_waits_is_cancelled_at_once(call: Call, served: Engine) -> None:
    served.executor.hold()
    made = (await call("POST", "/tasks", ECHO)).json
    assert made["state"] == "accepted"
    assert (await call("POST", f"/tasks/{made['id']}/cancel")).json["state"] == "cancelled"
    served.executor.release()
    await until("nothing in hand", lambda: not served.executor.tasks)

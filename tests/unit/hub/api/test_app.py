"""Every path of the API: whose it is, who may use it, and what it says to nonsense."""

import json
import logging
from typing import Any, Final

import pytest

from cloudsync import identity
from tests.unit.hub.http import Answer, Http
from tests.unit.hub.running import RunningHub, bash, make

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PROBLEM: Final = "application/problem+json"
# What a box sends with the token of its session.
BOX: Final = "box"
# Path -> least role, by method; None: no key is asked for.
ROLES: Final[dict[tuple[str, str], str | None]] = {
    ("get", "/api/v1/boxes"): "viewer",
    ("get", "/api/v1/boxes/{box_id}"): "viewer",
    ("post", "/api/v1/boxes/{box_id}/tasks"): "operator",
    ("get", "/api/v1/boxes/{box_id}/tasks"): "viewer",
    ("post", "/api/v1/boxes/{box_id}/revoke"): "admin",
    ("post", "/api/v1/boxes/{box_id}/release"): "admin",
    ("get", "/api/v1/tasks"): "viewer",
    ("get", "/api/v1/tasks/{task_id}"): "viewer",
    ("post", "/api/v1/tasks/{task_id}/cancel"): "operator",
    ("get", "/api/v1/tasks/{task_id}/output"): "viewer",
    ("get", "/api/v1/tasks/{task_id}/artifacts"): "viewer",
    ("get", "/api/v1/artifacts/{artifact_id}"): "viewer",
    ("post", "/api/v1/artifacts/{artifact_id}/link"): "viewer",
    ("get", "/api/v1/uploads/{sha256}"): BOX,
    ("patch", "/api/v1/uploads/{sha256}"): BOX,
    ("get", "/api/v1/steps.schema.json"): "viewer",
    ("get", "/api/v1/fleet"): "viewer",
    ("get", "/api/v1/events"): "viewer",
    ("get", "/api/v1/customers"): "admin",
    ("post", "/api/v1/customers"): "platform",
    ("delete", "/api/v1/customers/{name}"): "platform",
    ("get", "/api/v1/keys"): "admin",
    ("post", "/api/v1/keys"): "admin",
    ("delete", "/api/v1/keys/{key_id}"): "admin",
    ("get", "/api/v1/tokens"): "admin",
    ("post", "/api/v1/tokens"): "admin",
    ("delete", "/api/v1/tokens/{token_id}"): "admin",
    ("post", "/api/v1/enrol"): None,
    ("get", "/healthz"): None,
    ("get", "/readyz"): None,
    ("get", "/metrics"): None,
}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "/api/v1/boxes/{box_id}/tasks": bash(),
    "/api/v1/boxes/{box_id}/release": {"copy_id": "x"},
    "/api/v1/customers": {"name": "new"},
    "/api/v1/keys": {"role": "viewer"},
    "/api/v1/tokens": {},
}
NOT_JSON: Final = [b"", b"{", b"not json", b"\xff\xfe", b'{"a":"\\ud800"}', b"[" * 5000, b'{"a":' * 300, b"9" * 5000]
WRONG_TYPES: Final = [
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"{}",
    b"NaN",
    b"1e400",
    b'{"kind":"bash.exec","command":{}}',
    b'{"name":1,"role":2,"uses":"x","ttl_s":1e400,"copy_id":[],"token":5}',
    b'{"a\\u0000":1}',
]
HUGE: Final = b'{"kind":"bash.exec","command":"' + b"x" * 3_000_000 + b'"}'
MANY: Final = json.dumps({f"f{number}" * 50: number for number in range(5000)}).encode()


async def schema(hub: RunningHub) -> dict[str, Any]:
    """What the hub says of itself."""
    found: dict[str, Any] = (await hub.http(None).get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Each operation by method and path."""
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def check(answer: Answer, where: str, operation: dict[str, Any]) -> None:
    """The answer is documented, and an error says what to do."""
    assert str(answer.status) in operation["responses"], (where, answer.status, answer.body[:300])
    if answer.status >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == PROBLEM, where
        assert (problem["status"], problem["type"]) == (answer.status, "about:blank")
        assert all(problem[name] for name in ("title", "code", "detail", "hint")), (where, problem)
        assert len(answer.body) < 20_000, where
        assert PROBLEM in operation["responses"][str(answer.status)]["content"], where


async def test_every_path_is_in_the_table_of_roles(hub: RunningHub) -> None:
    assert set(operations(await schema(hub))) == set(ROLES)


async def test_description_is_whole(hub: RunningHub) -> None:
    document = await schema(hub)
    assert document["openapi"].startswith("3.1")
    names = set(document["components"]["schemas"])
    seen = set()
    for (method, path), operation in operations(document).items():
        assert operation["responses"], path
        assert operation.get("summary") or operation.get("description"), (method, path)
        if path.startswith("/api/"):
            assert {"401", "405", "503"} <= set(operation["responses"]), (method, path)
        for status, response in operation["responses"].items():
            assert response["description"], (method, path, status)
        placeholders = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert placeholders == named, (method, path)
        seen.add(operation["operationId"])
    assert len(seen) == len(ROLES)
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    for reference in set(text.split('"$ref": "')[1:]):
        assert reference.split('"')[0].removeprefix("#/components/schemas/") in names


async def test_role_below_the_least_is_refused_and_the_least_is_not(hub: RunningHub) -> None:
    await hub.box()
    keys = {role: await hub.key(role=role) for role in ("viewer", "operator", "admin")}
    task_id = await make(hub.http(keys["operator"]), "box-1")
    artifact = await hub.artifact(task_id, b"here")
    document = operations(await schema(hub))
    order = [*keys, "platform"]
    for (method, path), least in ROLES.items():
        ids = {"box_id": "box-1", "task_id": task_id, "artifact_id": artifact["id"]}
        address = path.format(**ids, name="none", key_id="k-none", token_id="t-none", sha256="0" * 64)
        if least in {None, BOX} or path.endswith("/events"):
            continue
        check(await hub.http(None)(method.upper(), address), address, document[method, path])
        for role, key in keys.items():
            answer = await hub.http(key)(method.upper(), address, BODIES.get(path))
            check(answer, f"{role} {method} {address}", document[method, path])
            if order.index(role) < order.index(str(least)):
                assert answer.status == 403, (role, method, address, answer)
                assert least in answer.json()["detail"]
            else:
                assert answer.status not in {401, 403}, (role, method, address, answer)


async def test_another_customers_key_sees_nothing_and_touches_nothing(hub: RunningHub) -> None:
    await hub.customer("other")
    box = await hub.box()
    mine = hub.http(await hub.key(role="admin"))
    task_id = await make(mine, "box-1")
    key_id = (await mine.post("/api/v1/keys", {"role": "viewer"})).json()["id"]
    token_id = (await mine.post("/api/v1/tokens", {})).json()["id"]
    artifact = await hub.artifact(task_id, b"mine")
    await box.connect()
    await box.commands(1)
    theirs = hub.http(await hub.key("other", "admin"))
    document = operations(await schema(hub))
    before = [dict(row) for row in hub.rows("SELECT * FROM tasks")] + [
        dict(row) for row in hub.rows("SELECT * FROM keys")
    ]
    for (method, path), least in ROLES.items():
        if least in {None, "platform", BOX} or path.endswith("/events"):
            continue
        ids = {"box_id": "box-1", "task_id": task_id, "key_id": key_id, "token_id": token_id}
        address = path.format(**ids, artifact_id=artifact["id"])
        body = {"role": "viewer", "customer": "acme"} if path.endswith("/keys") else BODIES.get(path)
        if path.endswith("/tokens"):
            body = {"box_id": "box-1"}
        answer = await theirs(method.upper(), address, body)
        check(answer, address, document[method, path])
        if "{" in path or method == "post":
            assert answer.status in {404, 403}, (method, address, answer)
            assert ("{" in path) == (answer.status == 404 or False) or path.endswith(("/keys", "/tokens"))
        else:
            shown = answer.body.decode()
            assert not [name for name in ("box-1", task_id, key_id, token_id, "acme") if name in shown], (
                address,
                shown,
            )
    for query in ("box_id=box-1", "state=queued"):
        assert (await theirs.get(f"/api/v1/tasks?{query}")).json()["items"] == []
    assert (await theirs.get("/api/v1/fleet")).json()["boxes"]["connected"] == 0
    after = [dict(row) for row in hub.rows("SELECT * FROM tasks")] + [
        dict(row) for row in hub.rows("SELECT * FROM keys")
    ]
    assert before == after


async def test_nonsense_is_answered_as_it_is_described(hub: RunningHub, caplog: pytest.LogCaptureFixture) -> None:
    await hub.box()
    document = operations(await schema(hub))
    admin = hub.http(hub.admin_key)
    task_id = await make(admin, "box-1")
    artifact = await hub.artifact(task_id, b"here")
    for (method, path), operation in document.items():
        ids = {"box_id": "box-1", "task_id": task_id, "name": "none", "key_id": "k", "token_id": "t"}
        ids |= {"artifact_id": artifact["id"], "sha256": "0" * 64}
        address = path.format(**ids)
        verb = method.upper()
        for wrong in {"PUT", "DELETE", "PATCH"} - {each.upper() for each, other in document if other == path}:
            answer = await admin(wrong, address)
            assert answer.status == 405, (wrong, address)
            check(answer, address, operation)
        for key in ("opk_bad", "", "\xff"):
            answer = await Http(hub.web, key)(verb, address, BODIES.get(path) or ({} if verb == "POST" else None))
            check(answer, f"{verb} {address} with the key {key!r}", operation)
        for odd in ("%00", "..%2f..", "%ff%fe", "x" * 3000, "%F0%9F%98%80", "';--"):
            if "{" in path:
                answer = await admin(verb, path.format(**dict.fromkeys(ids, odd)), BODIES.get(path))
                assert answer.status in {404, 422} or "/uploads/" in path, (verb, path, odd, answer)
        if not path.endswith("/events"):
            check(await admin(verb, f"{address}?color=red", BODIES.get(path)), f"{verb} {address}?color", operation)
        if verb == "POST" and "requestBody" in operation:
            for body in (*NOT_JSON, *WRONG_TYPES, HUGE, MANY):
                answer = await admin(verb, address, body)
                if body not in WRONG_TYPES and (body or not path.endswith("/link")):
                    assert answer.status in {400, 413, 422}, (address, body[:40], answer)
                check(answer, f"{address} {body[:40]!r}", operation)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_request_that_ends_early_leaves_no_error(hub: RunningHub, http: Http) -> None:
    await hub.box()
    for path in ("/api/v1/boxes/box-1/tasks", "/api/v1/enrol"):
        _, writer = await http._ask("POST", path, None, {"Content-Length": "1000"})
        writer.write(b'{"kind":')
        await writer.drain()
        writer.transport.abort()
    assert (await http.get("/api/v1/tasks")).json()["items"] == []


async def test_path_that_is_none_is_a_problem_with_a_hint(http: Http) -> None:
    for path in ("/nothing", "/api/v1/nothing", "/api/v1/boxes/", "/api/v1", "//", "/api/v1/tasks/x/y"):
        answer = await http.get(path)
        assert (path, answer.status, answer.headers["content-type"]) == (path, 404, PROBLEM)
        assert answer.json()["hint"]


async def test_health_says_whether_the_hub_serves(hub: RunningHub) -> None:
    client = hub.http(None)
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    hub.context.draining = True
    assert (await client.get("/healthz")).status == 404
    answer = await client.get("/readyz")
    assert (answer.status, answer.json()["code"]) == (503, "draining")


async def test_enrolment_needs_no_key_and_every_other_path_of_the_api_does(hub: RunningHub) -> None:
    body = {"token": "opt_x", "public_key": identity.public_key(identity.new_key()), "name": "box-1"}
    assert (await hub.http(None).post("/api/v1/enrol", body)).json()["code"] == "bad_token"
    for (method, path), least in ROLES.items():
        if least is not None:
            assert (await hub.http(None)(method.upper(), path)).status == 401

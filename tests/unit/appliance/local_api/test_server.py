"""The local API's socket and server."""

import asyncio
import stat
from http import HTTPStatus
from pathlib import Path

import pytest

from appliance.client.box import Box
from appliance.engine import Engine
from appliance.local_api.server import LocalApi
from tests.unit.appliance.engines import LIMIT_S, Engines, bash, until
from tests.unit.appliance.local_api.caller import Call, get, request


async def test_only_the_owner_may_use_the_socket(served: Engine) -> None:
    assert stat.S_IMODE(served.folder.local_api.stat().st_mode) == 0o600


async def test_status_says_how_the_box_is(served: Engine, engines: Engines) -> None:
    await engines.run("echo")
    found = await asyncio.to_thread(Box(engines.path).get, "/status")
    assert found is not None
    assert (found["running"], found["link"]["state"], found["queue"]) == (True, "local", {"queued": 0, "running": 0})
    assert found["unsynced_events"] == 2
    assert found["incarnation"] == served.incarnation
    assert found["disk"]["free_bytes"] > 0
    assert [text for text in found["warnings"] if not text.startswith("the browser")] == []  # as root it has no sandbox


@pytest.mark.parametrize(
    ("target", "method", "code"),
    [
        ("/nothing", "GET", 404),
        ("/status", "POST", 405),
        ("/tasks/", "GET", 404),
        ("/tasks/x/y", "GET", 404),
        ("/tasks", "DELETE", 405),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    served: Engine, engines: Engines, target: str, method: str, code: int
) -> None:
    found, body = await asyncio.to_thread(get, engines.path, target, method)
    assert found == code, body
    assert (body["status"], body["title"]) == (code, HTTPStatus(code).phrase)
    assert body["detail"]
    assert body["hint"]


async def test_garbage_is_refused_and_the_next_is_answered(served: Engine, engines: Engines) -> None:
    answer = await asyncio.to_thread(request, engines.path, b"\x01\x02 no HTTP\r\n\r\n")
    assert answer.status == 400
    assert (await asyncio.to_thread(get, engines.path, "/status"))[0] == 200


async def test_a_folder_with_a_long_path_is_served(engines: Engines, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    engine = await engines.open(path)
    api = LocalApi(engine, lambda: {"running": True})
    api.start()
    assert await asyncio.to_thread(Box(path).get, "/status") == {"running": True}
    await api.stop()


async def test_a_stop_answers_those_who_wait(engines: Engines) -> None:
    engine = await engines.open()
    api = LocalApi(engine, dict)
    api.start()
    call = Call(engines.path)
    body = bash("sleep 60").model_dump(exclude_none=True)
    waiting = asyncio.ensure_future(call("POST", "/tasks?wait_s=60", body))
    await until("a task", lambda: bool(engine.executor.running))
    (task,) = engine.executor.running.values()
    following = asyncio.ensure_future(call.raw("GET", f"/tasks/{task.id}/output?follow=1"))
    await until("a follower", lambda: bool(engine.executor.watch._followers))
    async with asyncio.timeout(LIMIT_S):
        await api.stop()
        answer = await waiting
        assert (answer.status, answer.json["state"]) == (202, "running")
        assert b"event: end" not in await following


async def test_the_failure_of_a_path_is_a_problem_and_not_the_end(
    engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await engines.open()
    api = LocalApi(engine, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    api.start()
    code, body = await asyncio.to_thread(get, engines.path, "/status")
    assert (code, body["code"]) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert (await asyncio.to_thread(get, engines.path, "/tasks"))[0] == 200
    await api.stop()

"""The local API over its real socket."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance import status
from appliance.engine import Engine
from appliance.live import now_ms
from appliance.local_api import LocalApi
from appliance.local_client import ask
from appliance.uplink import Uplink
from tests.unit.appliance.engines import Engines


@pytest.fixture
async def served(engines: Engines) -> AsyncIterator[Engine]:
    """An engine whose local API answers."""
    engine = await engines.open()
    uplink = Uplink(engine)
    started_ms = now_ms()
    api = LocalApi(engine.folder.local_api, engine.journal, lambda: status.of_daemon(engine, uplink, started_ms))
    api.start()
    yield engine
    await api.stop()
    assert not engine.folder.local_api.exists()


def request(path: Path, text: str) -> tuple[int, Any]:
    """Send a raw request; status and body."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path / "box.sock"))
        client.sendall(text.encode())
        answer = b""
        while part := client.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else body


def get(path: Path, target: str, method: str = "GET") -> tuple[int, Any]:
    return request(path, f"{method} {target} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")


async def test_only_the_owner_may_use_the_socket(served: Engine) -> None:
    assert stat.S_IMODE(served.folder.local_api.stat().st_mode) == 0o600


async def test_status_says_how_the_box_is(served: Engine, engines: Engines) -> None:
    await engines.run("echo")
    found = await asyncio.to_thread(ask, engines.path, "/status")
    assert found is not None
    assert (found["running"], found["link"]["state"], found["queue"]) == (True, "local", {"queued": 0, "running": 0})
    assert found["unsynced_events"] == 2
    assert found["incarnation"] == served.incarnation
    assert found["disk"]["free_bytes"] > 0
    assert found["warnings"] == []


async def test_tasks_are_listed_newest_first_a_page_at_a_time(served: Engine, engines: Engines) -> None:
    ids = [(await engines.run(f"exit {code}")).task_id for code in range(3)]
    code, first = await asyncio.to_thread(get, engines.path, "/tasks?limit=2")
    assert code == 200
    assert [(row["id"], row["state"], row["exit_code"]) for row in first["items"]] == [
        (ids[2], "failed", 2),
        (ids[1], "failed", 1),
    ]
    code, rest = await asyncio.to_thread(get, engines.path, f"/tasks?limit=2&cursor={first['next']}")
    assert [row["id"] for row in rest["items"]] == [ids[0]]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("target", "method", "code"),
    [
        ("/nothing", "GET", 404),
        ("/status", "POST", 405),
        ("/tasks?limit=0", "GET", 422),
        ("/tasks?limit=501", "GET", 422),
        ("/tasks?limit=many", "GET", 422),
        ("/tasks?limit=%C2%B2", "GET", 422),
        ("/tasks?cursor=x", "GET", 422),
        ("/tasks?cursor=%C2%B2", "GET", 422),
        ("/tasks?cursor=99999999999999999999999", "GET", 422),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    served: Engine, engines: Engines, target: str, method: str, code: int
) -> None:
    found, body = await asyncio.to_thread(get, engines.path, target, method)
    assert found == code, body
    assert body["status"] == code
    assert body["detail"]
    assert body["hint"]


async def test_garbage_is_refused_and_the_next_is_answered(served: Engine, engines: Engines) -> None:
    code, _ = await asyncio.to_thread(request, engines.path, "\x01\x02 no HTTP\r\n\r\n")
    assert code == 400
    assert (await asyncio.to_thread(get, engines.path, "/status"))[0] == 200


async def test_a_folder_with_a_long_path_is_served(engines: Engines, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    engine = await engines.open(path)
    api = LocalApi(engine.folder.local_api, engine.journal, lambda: {"running": True})
    api.start()
    assert await asyncio.to_thread(ask, path, "/status") == {"running": True}
    await api.stop()

"""`operis-hub serve` as a real process: start, what may stand in its way, what is changed beside it, its end."""

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cloudsync import identity
from cloudsync.messages import Bye, Denied
from hub.store import connect
from tests.unit.hub.peer import Peer
from tests.unit.hub.running import bash, make
from tests.unit.hub.served import PROGRAM, Served, admin, served


async def enrolled(hub: Served, capsys: pytest.CaptureFixture[str], customer: str = "acme") -> Peer:
    """A customer with one box."""
    admin(hub.data, "customer", "add", customer)
    capsys.readouterr()
    admin(hub.data, "token", "add", "--customer", customer)
    token, key = capsys.readouterr().out.strip(), identity.new_key()
    body = {"token": token, "public_key": identity.public_key(key), "name": f"{customer}-1"}
    answer = await hub.http().post("/api/v1/enrol", body)
    assert answer.status == 201, answer
    return Peer(hub.relay, answer.json()["box_id"], key)


async def test_serves_says_where_and_ends_cleanly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(tmp_path / "new" / "hub", "--verbose") as hub:
        assert (hub.data.stat().st_mode & 0o777, (hub.data / "admin.key").stat().st_mode & 0o777) == (0o700, 0o600)
        box = await enrolled(hub, capsys)
        await box.connect()
        task_id = await make(hub.http(), box.box_id)
        await hub.http("opk_secret").get("/api/v1/tasks?apiKey=opk_secret")
        began = time.monotonic()
        ending = asyncio.create_task(hub.end())
        assert (await box.hear(Bye)).retry_after_s > 0
        assert (await box.closed())[0] == 1001
        assert await ending == 0
        assert time.monotonic() - began < 5
    async with served(hub.data) as again:
        assert (await again.http().get(f"/api/v1/tasks/{task_id}")).json()["delivery"] == "sent"
        box.relay = again.relay
        await box.connect()
        assert (await box.commands(1))[0]["task_id"] == task_id
        await box.cut()


async def test_killed_hub_has_every_task_that_it_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    async with served(tmp_path) as hub:
        box = await enrolled(hub, capsys)

        async def load() -> None:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):  # cut off where it was
                while True:
                    made.append(await make(hub.http(), box.box_id))

        loads = [asyncio.create_task(load()) for _ in range(8)]
        while len(made) < 60:  # noqa: ASYNC110 - the count is the event
            await asyncio.sleep(0.005)
        assert await hub.end(signal.SIGKILL) == -signal.SIGKILL
        await asyncio.gather(*loads)
    async with served(tmp_path) as again:
        for task_id in made:
            assert (await again.http().get(f"/api/v1/tasks/{task_id}")).status == 200
        database = connect(tmp_path / "hub.db", read_only=True)
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        database.close()


async def test_what_a_command_beside_it_revokes_is_cut_off_in_five_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as hub:
        first, second = await enrolled(hub, capsys), await enrolled(hub, capsys, "other")
        await first.connect()
        await second.connect()
        admin(tmp_path, "key", "add", "--customer", "acme", "--role", "viewer", "--json")

        made: dict[str, Any] = json.loads(capsys.readouterr().out)
        viewer = hub.http(made["key"])
        assert (await viewer.get("/api/v1/boxes")).status == 200
        began = time.monotonic()
        admin(tmp_path, "key", "revoke", made["id"])
        while (await viewer.get("/api/v1/boxes")).status == 200:
            pass
        assert time.monotonic() - began < 5
        began = time.monotonic()
        admin(tmp_path, "customer", "revoke", "acme")
        assert (await first.hear(Denied)).code == "revoked"
        await first.closed()
        assert time.monotonic() - began < 5
        await second.beat()
        await second.cut()


async def test_admin_command_that_holds_the_lock_only_delays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as hub:
        box = await enrolled(hub, capsys)
        database = connect(tmp_path / "hub.db")
        database.execute("BEGIN IMMEDIATE")
        posting = asyncio.create_task(hub.http().post(f"/api/v1/boxes/{box.box_id}/tasks", bash()))
        for _ in range(5):
            assert (await hub.http().get("/api/v1/boxes")).status == 200
        assert not posting.done()
        database.execute("COMMIT")
        database.close()
        assert (await posting).status == 201


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


async def test_full_disk_is_a_503_that_goes_away_with_it(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(small_disk / "hub") as hub:
        box = await enrolled(hub, capsys)
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        path, kept = f"/api/v1/boxes/{box.box_id}/tasks", []
        while (answer := await hub.http().post(path, bash("#" + "x" * 5000))).status == 201:
            kept.append(answer.json()["id"])
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.json()["hint"]
        assert (await hub.http().get("/readyz")).status in {200, 503}
        assert (await hub.http().get("/healthz")).status == 200
        ballast.unlink()
        assert (await hub.http().post(path, bash())).status == 201
        for task_id in kept:
            assert (await hub.http().get(f"/api/v1/tasks/{task_id}")).status == 200


def refused(data: Path, *flags: str) -> str:
    """What a start that fails says: two lines, no traceback."""
    addresses = {"--relay": "127.0.0.1:0", "--web": "127.0.0.1:0"} | dict(zip(flags[::2], flags[1::2], strict=True))
    command = [*PROGRAM, "serve", "--data", str(data), *(part for pair in addresses.items() for part in pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("operis-hub: ")
    assert lines[1].startswith("hint: ")
    return done.stderr


async def test_second_hub_on_one_folder_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path):
        assert "another operis-hub" in await asyncio.to_thread(refused, tmp_path)


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--relay", "--web"):
            said = refused(tmp_path, flag, address)
            assert address in said
            assert flag in said


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "journal.db").write_text("x")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "hub.db").write_bytes(b"not a database" * 1000)
    assert "not a folder" in refused(tmp_path / "file")
    assert "of a box" in refused(tmp_path / "box")
    assert "not a usable database" in refused(tmp_path / "odd")
    assert "--data" in refused(Path("/proc/operis"))
    assert "HOST:PORT" in refused(tmp_path / "new", "--web", "nonsense")

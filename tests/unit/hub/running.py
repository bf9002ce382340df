"""A hub in the test's own loop: real database, sockets, uvicorn and websockets."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from cloudsync import identity
from cloudsync.spec import Artifact
from hub import artifacts, tenancy
from hub.adminkey import ensure_admin_key
from hub.api.app import build
from hub.api.context import Context
from hub.artifacts import Content
from hub.auth import Auth
from hub.blobs import Blobs
from hub.dispatch import Dispatch, now_ms
from hub.live import Live
from hub.metrics import Metrics
from hub.relay import Relay
from hub.retention import Retention
from hub.serve import DATABASE, listen
from hub.signing import Signer
from hub.store import Connection, Row, Store, open_database, transact
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, some_id

ARTIFACT_LIMIT_BYTES = 64 * 1024 * 1024


class _Server(uvicorn.Server):
    """uvicorn that ends when it is told to, not a tick later: there are many tests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()


@dataclass
class RunningHub:
    """The hub's parts and its two addresses."""

    data: Path
    store: Store
    auth: Auth
    dispatch: Dispatch
    relay: Relay
    context: Context
    relay_url: str
    web: tuple[str, int]
    admin_key: str
    _peers: list[Peer] = field(default_factory=list)

    async def job(self, job: Callable[[Connection], Any]) -> Any:
        """Run a job of the store."""
        return await self.store.write(job)

    def rows(self, query: str, *values: Any) -> list[Row]:
        """What the database holds."""
        return self.store.read_now(query, values)

    def http(self, key: str | None) -> Http:
        """A client with a key."""
        return Http(self.web, key)

    async def customer(self, name: str, plan: str = "unlimited") -> None:
        """Add a customer."""
        await self.job(lambda c: tenancy.add_customer(c, name, plan, now_ms()))

    async def key(self, customer: str = "acme", role: str = "operator") -> str:
        """A new key."""
        _, key = await self.job(lambda c: tenancy.add_key(c, customer, role, now_ms()))
        return str(key)

    async def token(self, customer: str = "acme", uses: int = 1, ttl_s: float = 60, box: str | None = None) -> str:
        """A new enrolment token."""
        _, token = await self.job(lambda c: tenancy.add_token(c, customer, uses, ttl_s, box, now_ms()))
        return str(token)

    async def box(self, name: str = "box-1", customer: str = "acme") -> Peer:
        """Enrol a box."""
        key = identity.new_key()
        body = {"token": await self.token(customer), "public_key": identity.public_key(key), "name": name}
        answer = await self.http(None).post("/api/v1/enrol", body)
        assert answer.status == 201, answer
        peer = Peer(self.relay_url, answer.json()["box_id"], key)
        self._peers.append(peer)
        return peer

    def mine(self, peer: Peer) -> Peer:
        """A peer whose connection ends with the test."""
        self._peers.append(peer)
        return peer

    def rights_changed(self) -> None:
        """What `serve` does each second."""
        if self.auth.rights_changed():
            self.relay.rights_changed()

    async def artifact(self, task_id: str, content: bytes, name: str = "a.txt", **more: Any) -> dict[str, Any]:
        """An artifact of a task, stored; `pending=True`: its bytes have not come."""
        row = self.rows("SELECT customer_id, box_id FROM tasks WHERE id = ?", task_id)[0]
        is_pending = more.pop("pending", False)
        fields = {"media_type": "text/plain; charset=utf-8"} | more
        found = Artifact(
            id=some_id(), name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), **fields
        )
        await self.job(lambda c: artifacts.enter(c, row["customer_id"], row["box_id"], task_id, [found]))
        if not is_pending:
            kept = Content(row["customer_id"], found.sha256, found.size_bytes)
            place = self.context.blobs.place(kept)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            await self.job(lambda c: artifacts.store(c, kept, now_ms()))
        return found.model_dump()

    async def settle(self) -> None:
        """Wait until what was written so far is committed and told."""
        await self.job(lambda _: None)
        await asyncio.sleep(0)

    async def cut_all(self) -> None:
        """Cut what the test left connected."""
        for peer in self._peers:
            await peer.cut()


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[RunningHub]:
    """A hub that serves while the context lasts; the customer 'acme' is there."""
    connection = open_database(data / DATABASE)
    admin_key = ensure_admin_key(data, connection)
    hub_name = transact(connection, tenancy.hub_name)
    signer = Signer(transact(connection, tenancy.signing_key))
    connection.close()
    store = Store(data / DATABASE)
    store.start()
    auth = Auth(store)
    auth.rights_changed()
    dispatch = Dispatch(store, Live())
    (data / "artifacts").mkdir(exist_ok=True)
    blobs = Blobs(data / "artifacts", ARTIFACT_LIMIT_BYTES, 0)
    retention = Retention(store, blobs)
    retention.count()
    relay = Relay(dispatch, auth, hub_name, signer)
    context = Context(store, dispatch, auth, blobs, signer, hub_name)
    relay_socket, web_socket = listen("relay", "127.0.0.1:0"), listen("web", "127.0.0.1:0")
    relay_url = "ws://{}:{}/relay".format(*relay_socket.getsockname())
    web_address = web_socket.getsockname()
    app = build(context, Metrics(store, dispatch, relay, blobs))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="httptools", ws="none", timeout_graceful_shutdown=1
    )
    web = _Server(config)
    await relay.start(relay_socket)
    serving = asyncio.create_task(web.serve(sockets=[web_socket]))
    hub = RunningHub(data, store, auth, dispatch, relay, context, relay_url, web_address, admin_key)
    if not hub.rows("SELECT 1 FROM customers WHERE name = 'acme'"):
        await hub.customer("acme")
    try:
        yield hub
    finally:
        await hub.cut_all()
        context.draining = True
        web.stopping.set()
        await asyncio.gather(relay.stop(), serving)
        blobs.close()
        await store.stop()


def bash(command: str = "true", **more: Any) -> dict[str, Any]:
    """The body of a task."""
    return {"kind": "bash.exec", "command": command, **more}


async def make(http: Http, box_id: str, command: str = "true", **more: Any) -> str:
    """Create a task; its id."""
    answer = await http.post(f"/api/v1/boxes/{box_id}/tasks", bash(command, **more))
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def look(http: Http, task_id: str) -> dict[str, Any]:
    """A task as the API shows it."""
    answer = await http.get(f"/api/v1/tasks/{task_id}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found

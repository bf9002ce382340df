"""`operis-hub serve`: opens everything in order, serves, closes in reverse."""

import asyncio
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from hub import tenancy
from hub.adminkey import ensure_admin_key
from hub.api.app import build
from hub.api.context import Context
from hub.auth import Auth
from hub.blobs import Blobs
from hub.dispatch import Dispatch
from hub.errors import StartError
from hub.live import Live
from hub.metrics import Metrics
from hub.relay import Relay
from hub.retention import Retention
from hub.settings import HubSettings
from hub.signing import Signer
from hub.store import Store, open_database, transact

log = logging.getLogger(__name__)

DATABASE: Final = "hub.db"
# The writer thread must not wait a whole default slice (5 ms) for the loop's thread, nor the loop for it.
SWITCH_S: Final = 0.0005
# Long answers (follow, events) are cut when the hub goes down; their clients resume.
SHUTDOWN_S: Final = 2
# A whole fleet may come back at once.
BACKLOG: Final = 2048


def prepare_folder(data: Path) -> None:
    """Make the data folder where it is not; `StartError` where that or writing in it fails."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = data / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise StartError(f"--data {data} is not a folder", "name a folder") from error
    except OSError as error:
        hint = "name a folder that this user can write in"
        raise StartError(f"--data {data} cannot be used: {error.strerror}", hint) from error
    if (data / "journal.db").exists():
        raise StartError(f"--data {data} is the data folder of a box", "name another folder for the hub")


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the folder's lock; `StartError` where another hub serves from it."""
    descriptor = os.open(data / "hub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "stop that one first, or name another --data folder"
            raise StartError(f"another operis-hub serves from {data}", hint) from error
        yield
    finally:
        os.close(descriptor)


def listen(flag: str, address: str) -> socket.socket:
    """A bound socket; `StartError` where the address cannot be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(where)
        # From here on the kernel takes connections: whoever reads that the hub is ready may connect.
        listening.listen(BACKLOG)
    except OSError as error:
        hint = f"another program may hold it ('ss -ltnp' shows which); choose another with --{flag} HOST:PORT"
        raise StartError(f"--{flag} {address} cannot be listened on: {error.strerror}", hint) from error
    listening.setblocking(False)
    return listening


class _Server(uvicorn.Server):
    """uvicorn inside our loop: signals are ours."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(data: Path, settings: HubSettings) -> int:
    """Serve until SIGTERM or SIGINT."""
    prepare_folder(data)
    with locked(data):
        connection = open_database(data / DATABASE)
        ensure_admin_key(data, connection)
        hub_name = transact(connection, tenancy.hub_name)
        signer = Signer(transact(connection, tenancy.signing_key))
        connection.close()
        blobs = Blobs(_artifacts_folder(data), settings.artifact_limit_mib * 1024**2)
        relay_socket = listen("relay", settings.relay)
        web_socket = listen("web", settings.web)
        sys.setswitchinterval(SWITCH_S)
        _raise_open_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(data, hub_name, signer, blobs, relay_socket, web_socket))
    return 0


def _artifacts_folder(data: Path) -> Path:
    folder = data / "artifacts"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def _serve(
    data: Path, hub_name: str, signer: Signer, blobs: Blobs, relay_socket: socket.socket, web_socket: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    store = Store(data / DATABASE)
    store.start()
    auth = Auth(store)
    auth.rights_changed()
    dispatch = Dispatch(store, Live())
    retention = Retention(store, blobs)
    retention.count()
    relay = Relay(dispatch, auth, hub_name, signer)
    context = Context(store, dispatch, auth, blobs, signer, hub_name)
    app = build(context, Metrics(store, dispatch, relay, blobs))
    web = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            http="httptools",
            loop="none",
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_S,
            backlog=BACKLOG,
        )
    )

    def watch_rights() -> None:
        if auth.rights_changed():
            relay.rights_changed()

    await relay.start(relay_socket)
    serving = asyncio.create_task(web.serve(sockets=[web_socket]))
    endless = (dispatch.sweep(watch_rights), relay.sweep(), retention.run())
    background = [asyncio.create_task(one) for one in endless]
    # What is alive now stays: the collector need not look through it again and again.
    gc.freeze()
    _say_ready(data, relay_socket, web_socket)
    stopped = asyncio.create_task(_wait_for(stopping))
    done, _ = await asyncio.wait([stopped, serving, *background], return_when=asyncio.FIRST_COMPLETED)
    context.draining = True
    log.info("stopping")
    await relay.stop()
    web.should_exit = True
    await asyncio.wait([serving], timeout=SHUTDOWN_S + 2)
    for task in background:
        task.cancel()
    await asyncio.to_thread(blobs.close)
    await store.stop()
    for task in done - {stopped}:
        task.result()


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


def _say_ready(data: Path, relay_socket: socket.socket, web_socket: socket.socket) -> None:
    relay, web = _address(relay_socket), _address(web_socket)
    print(f"operis-hub ready: relay ws://{relay}/relay, web http://{web}, data {data}", file=sys.stderr, flush=True)


def _address(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _raise_open_files() -> None:
    """As many connections as the system allows this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

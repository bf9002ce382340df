"""The server of the local API: its socket, and who is on the other end of a connection."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from appliance.engine import Engine
from appliance.errors import Refusal
from appliance.folder import unusable
from appliance.local_api import problem
from appliance.local_api.artifacts import ArtifactPaths
from appliance.local_api.output import OutputPaths
from appliance.local_api.request import peer_name
from appliance.local_api.tasks import Tasks, reply

BACKLOG: Final = 64
# A stop waits no longer for one who does not take the answer.
STOP_LIMIT_S: Final = 3


class LocalApi:
    """Serves while the daemon runs. `status` gives what /status answers."""

    def __init__(self, engine: Engine, status: Callable[[], dict[str, Any]]) -> None:
        self._path = engine.folder.local_api
        self._status = status
        self._stopping = asyncio.Event()
        tasks = Tasks(engine, self._stopping)
        routes = [
            Route("/status", self._get_status),
            *tasks.routes(),
            *OutputPaths(engine, tasks, self._stopping).routes(),
            *ArtifactPaths(engine, tasks).routes(),
        ]
        handlers: Any = {
            Refusal: problem.on_refusal,
            HTTPException: problem.on_http,
            Exception: problem.on_failure,
        }
        app = Starlette(routes=routes, exception_handlers=handlers)
        # A path is what it is: no redirect to another.
        app.router.redirect_slashes = False
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_LIMIT_S,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen, with the socket readable by nobody else. `FolderUnusable` where there is no room for it."""
        try:
            listening = self._listen()
        except OSError as error:
            raise unusable(self._path, error) from error
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listening]))

    def _listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            self._path.unlink()
        folder_fd = os.open(self._path.parent, os.O_PATH | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            # By way of the descriptor, since the path of a Unix socket may have only 107 bytes.
            listening.bind(f"/proc/self/fd/{folder_fd}/{self._path.name}")
        finally:
            os.umask(mask)
            os.close(folder_fd)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        return listening

    async def stop(self) -> None:
        """Answer what was asked, and close."""
        self._stopping.set()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _get_status(self, request: Request) -> Response:
        del request
        return reply(self._status())


class _Server(uvicorn.Server):
    """uvicorn inside our loop: signals are ours, and an idle server has nothing to tick for."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """A connection, whose other end is the user who made it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it."""
        super().connection_made(transport)
        self.client = (peer_name(transport), 0)

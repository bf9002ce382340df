"""The local API: HTTP on a Unix socket in the data folder, for those whom the file system lets reach it."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from appliance.folder import unusable
from appliance.journal import Journal

PAGE_TASKS: Final = 100
PAGE_LIMIT: Final = 500
# Above every row number (SQLite's INTEGER).
NEWEST: Final = 2**63 - 1
BACKLOG: Final = 64


class LocalApi:
    """Serves while the daemon runs. `status` gives what /status answers."""

    def __init__(self, path: Path, journal: Journal, status: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._journal = journal
        self._status = status
        routes = [Route("/status", self._get_status), Route("/tasks", self._get_tasks)]
        handlers: Any = {404: _not_found, 405: _not_allowed}
        app = Starlette(routes=routes, exception_handlers=handlers)
        config = uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False
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
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _get_status(self, request: Request) -> Response:
        del request
        return JSONResponse(self._status())

    async def _get_tasks(self, request: Request) -> Response:
        limit = _number(request.query_params.get("limit", str(PAGE_TASKS)), PAGE_LIMIT)
        cursor = _number(request.query_params.get("cursor", str(NEWEST)), NEWEST)
        if limit is None:
            return _problem(422, f"limit: it is not a number from 1 to {PAGE_LIMIT}", "Correct it.")
        if cursor is None:
            return _problem(422, "cursor: it does not come from this list", "Leave it out to begin at the newest.")
        rows = self._journal.newest_tasks(limit, cursor)
        following = str(rows[-1]["n"]) if len(rows) == limit else None
        for row in rows:
            del row["n"]
        return JSONResponse({"items": rows, "next": following})


class _Server(uvicorn.Server):
    """uvicorn inside our loop: signals are ours, and an idle server has nothing to tick for."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _number(text: str, highest: int) -> int | None:
    """A number from 1 to `highest`."""
    is_one = text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and 1 <= int(text) <= highest
    return int(text) if is_one else None


async def _not_found(request: Request, error: Exception) -> Response:
    del error
    return _problem(404, f"there is no {request.url.path}", "Known are /status and /tasks.")


async def _not_allowed(request: Request, error: Exception) -> Response:
    del error
    return _problem(405, f"{request.url.path} does not take {request.method}", "Use GET.")


def _problem(status: int, detail: str, hint: str) -> Response:
    body = {"type": "about:blank", "status": status, "detail": detail, "hint": hint}
    return JSONResponse(body, status, media_type="application/problem+json")

"""Calls to the local API of a box: JSON there and back, and every failure as an error with a hint."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from appliance.errors import BrokenOff, Declined, FolderUnusable, NotRunning
from cloudsync.errors import Misuse

PROGRAM: Final = "operis-box"
TIMEOUT_S: Final = 10.0
SOCKET: Final = "box.sock"

Query = Mapping[str, str | int | float | None]


class _Connection(http.client.HTTPConnection):
    """HTTP over the Unix socket of a folder."""

    def __init__(self, data: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._data = data
        self._timeout_s = timeout_s

    def connect(self) -> None:
        folder_fd = os.open(self._data, os.O_PATH | os.O_CLOEXEC)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        try:
            self.sock.connect(f"/proc/self/fd/{folder_fd}/{SOCKET}")
        finally:
            os.close(folder_fd)


class Answer:
    """An answer whose body is still to be read."""

    def __init__(self, box: "Box", response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self._box = box
        self._response = response

    def header(self, name: str) -> str:
        """A header; empty where there is none."""
        return self._response.headers.get(name, "")

    def read(self, limit_bytes: int | None = None) -> bytes:
        """The rest of the body, or a part of it; empty at its end."""
        with self._box.translated():
            return self._response.read(limit_bytes)

    def read1(self, limit_bytes: int) -> bytes:
        """What has come of the body; empty at its end."""
        with self._box.translated():
            return self._response.read1(limit_bytes)


class Box:
    """The daemon that works in the data folder `data`.

    Calls raise `NotRunning`, `Declined`, `BrokenOff`, or `FolderUnusable` where it does not answer.
    """

    def __init__(self, data: Path, timeout_s: float | None = None) -> None:
        self.data = data
        self._timeout_s = TIMEOUT_S if timeout_s is None else timeout_s

    def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """A JSON object."""
        return self._json("GET", path, query, None, {})

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a JSON object; the one that answers it."""
        return self._json("POST", path, None, body or {}, headers or {})

    @contextmanager
    def open(self, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """An answer to read; its errors are translated too, those of the reader are not."""
        connection = _Connection(self.data, self._timeout_s)
        try:
            yield self._ask(connection, "GET", path, query, None, headers or {})
        finally:
            connection.close()

    def _json(
        self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        connection = _Connection(self.data, self._timeout_s)
        try:
            answer = self._ask(connection, method, path, query, body, headers).read()
        finally:
            connection.close()
        with self.translated():
            return _object(answer)

    def _ask(
        self,
        connection: _Connection,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = path + (f"?{urlencode(given)}" if given else "")
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        with self.translated():
            connection.request(method, target, data, dict(headers))
            response = connection.getresponse()
            if response.status >= 400:
                raise _declined(response.status, _object(response.read()))
        return Answer(self, response)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the system says into ours."""
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError):
            raise self._absent() from None
        except NotADirectoryError:
            raise FolderUnusable(f"{self.data} is not a folder", "Name a folder with --data.") from None
        except PermissionError:
            hint = "Ask as the user who runs the box, or as root."
            raise FolderUnusable(f"the socket of the box in {self.data} is not yours to use", hint) from None
        except (ConnectionError, http.client.IncompleteRead) as error:
            hint = "It is stopping or starting: try again, and look at its log."
            raise BrokenOff(f"the daemon of {self.data} broke off its answer", hint) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            hint = "It may be starting, stopping or overloaded: try again, and look at its log."
            raise FolderUnusable(f"the daemon of {self.data} does not answer: {error}", hint) from error

    def _absent(self) -> NotRunning | FolderUnusable:
        if (self.data / "journal.db").exists():
            return NotRunning(f"no daemon runs in {self.data}", f"Start it: {PROGRAM} run --data {self.data}")
        hint = f"Name one with --data, or start a box in it: {PROGRAM} run --data {self.data}"
        return FolderUnusable(f"{self.data} is not the data folder of a box", hint)


def _object(data: bytes) -> dict[str, Any]:
    answer = json.loads(data)
    if not isinstance(answer, dict):
        raise ValueError("its answer is no JSON object")
    return answer


def _declined(status: int, problem: Mapping[str, Any]) -> Declined:
    errors = problem.get("errors")
    wrong = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    fields = [(str(one.get("field")), str(one.get("message") or "")) for one in wrong]
    return Declined(status, str(problem.get("detail")), str(problem.get("hint") or ""), fields)


def task_path(task_id: str) -> str:
    """The path of a task; `Misuse` for what would lead to another path."""
    if task_id in {"", ".", ".."} or "/" in task_id:
        raise Misuse(f"'{task_id}' is no id of a task", f"'{PROGRAM} tasks' lists them")
    return f"/tasks/{quote(task_id, safe='')}"

"""The hub's HTTP API as a test speaks it: plain requests, answers as they are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

REQUEST_LIMIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.data)


class Unreachable(Exception):
    """No answer came: the hub is down, or went down while it was asked."""


class Api:
    """Requests with one API key (None: without any). Thread-safe."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.key = key
        self._pool = urllib3.PoolManager(maxsize=16, retries=False)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        limit_s: float = REQUEST_LIMIT_S,
    ) -> Answer:
        """Ask for `/api/v1/PATH`, or for PATH where it begins with a slash; `Unreachable` where no answer comes."""
        url = self.url + (path if path.startswith("/") else f"/api/v1/{path}")
        sent = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, url, body=content, headers={**sent, **(headers or {})}, timeout=limit_s)
        except (HTTPError, OSError) as error:
            raise Unreachable(str(error)) from error
        return Answer(answer.status, answer.headers, answer.data)

    def get(self, path: str) -> Any:
        """The JSON at a path; AssertionError for any status but 200."""
        answer = self.ask("GET", path)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.data.decode(errors='replace')}"
        return answer.json

    def post(self, path: str, body: object = None, *, limit_s: float = REQUEST_LIMIT_S) -> Any:
        """The JSON that a POST answers; AssertionError for a refusal."""
        answer = self.ask("POST", path, {} if body is None else body, limit_s=limit_s)
        assert answer.status < 300, f"POST {path}: {answer.status} {answer.data.decode(errors='replace')}"
        return answer.json

    def items(self, path: str) -> list[Any]:
        """Every item of a list, over all its pages."""
        found: list[Any] = []
        joint = "&" if "?" in path else "?"
        cursor = ""
        while True:
            page = self.get(f"{path}{joint}limit=500{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def run(self, box_id: str, command: str, *, wait_s: float | None = None, **fields: object) -> Any:
        """Make a bash task; the task as it is answered, after its end where `wait_s` is enough for it."""
        query = "" if wait_s is None else f"?wait_s={wait_s:g}"
        body = {"kind": "bash.exec", "command": command, **fields}
        return self.post(f"boxes/{box_id}/tasks{query}", body, limit_s=REQUEST_LIMIT_S + (wait_s or 0.0))

    def close(self) -> None:
        """Let the connections go."""
        self._pool.clear()

"""A small real HTTP server that answers as it is told: the hub of the client's tests."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl, urlsplit

TASK_ID: Final = "t-1"
KEY: Final = "operis-key-that-nobody-may-see"


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What it gets. `body` may be a function that writes as it likes; None closes without an answer."""

    status: int = 200
    body: bytes | Callable[[BinaryIO], None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200) -> Reply:
    """An answer of the API."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def problem(status: int, detail: str, **more: object) -> Reply:
    """An error of the API (RFC 9457)."""
    document = {"type": "about:blank", "title": "It is wrong", "status": status, "detail": detail, **more}
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/problem+json"})


def page(*items: dict[str, Any], after: str | None = None) -> Reply:
    """A page of a list."""
    return as_json({"items": items, "next": after})


def event(name: str, data: object) -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*events: bytes | Callable[[], object]) -> Reply:
    """A stream of events that ends, without its `end` event where none is given; a function in it is called."""

    def write(out: BinaryIO) -> None:
        for each in events:
            if callable(each):
                each()
            else:
                out.write(each)
                out.flush()

    return Reply(200, write, {"Content-Type": "text/event-stream; charset=utf-8"})


def a_task(**fields: object) -> dict[str, Any]:
    """A task as the API shows it."""
    return {
        "id": TASK_ID,
        "box_id": "box-1",
        "kind": "bash.exec",
        "spec": {"kind": "bash.exec", "command": "echo hi", "timeout_s": 60.0, "deliver_within_s": 86400.0},
        "origin": "hub",
        "created_by": "key k-1",
        "state": "queued",
        "delivery": "unsent",
        "attempt": 0,
        "created_at": "2026-01-02T03:04:05.000Z",
        "deliver_by": "2026-01-03T03:04:05.000Z",
        "delivered_at": None,
        "accepted_at": None,
        "started_at": None,
        "ended_at": None,
        "synced_at": None,
        "exit_code": None,
        "stdout": "",
        "stderr": "",
        "truncated": False,
        "error": None,
        "result": None,
        "known_as_of": "2026-01-02T03:04:05.000Z",
    } | fields


def ended(state: str = "succeeded", exit_code: int | None = 0, **fields: object) -> dict[str, Any]:
    """A task that has ended."""
    times = {
        "delivered_at": "2026-01-02T03:04:05.010Z",
        "accepted_at": "2026-01-02T03:04:05.012Z",
        "started_at": "2026-01-02T03:04:05.015Z",
        "ended_at": "2026-01-02T03:04:05.515Z",
        "synced_at": "2026-01-02T03:04:05.520Z",
    }
    return a_task(state=state, exit_code=exit_code, delivery="confirmed", attempt=1, **{**times, **fields})


def a_box(box_id: str = "box-1", **fields: object) -> dict[str, Any]:
    """A box as the API shows it."""
    return {
        "id": box_id,
        "name": box_id,
        "customer": "acme",
        "status": "connected",
        "why": "",
        "tags": [],
        "last_seen_at": "2026-01-02T03:04:05.000Z",
        "queue": {"queued": 0, "running": 1},
        "inventory": {},
    } | fields


class Peer:
    """Serves until closed. `tell` says what a path answers; the last of several replies is given again and again."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._replies: dict[tuple[str, str], list[Reply | None]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def place(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address that a client is given."""
        return f"http://{self.place}"

    def tell(self, method: str, path: str, *replies: Reply | None) -> None:
        """What this path of the API answers, in turn."""
        self._replies[method, f"/api/v1/{path}"] = list(replies)

    def tell_run(self, *streams: Reply, task: dict[str, Any] | None = None) -> None:
        """All that a `run` asks for: the task is made, its output comes by these streams."""
        self.tell("POST", "boxes/box-1/tasks", as_json(task or a_task(), 201))
        self.tell("GET", f"tasks/{TASK_ID}", as_json(task or a_task()))
        self.tell("GET", "boxes/box-1", as_json(a_box()))
        self.tell("GET", f"tasks/{TASK_ID}/output", *streams)

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests for this path of the API."""
        return [one for one in self.requests if (one.method, one.path) == (method, f"/api/v1/{path}")]

    def answer(self, request: Request) -> Reply | None:
        """The next reply."""
        self.requests.append(request)
        replies = self._replies.get((request.method, request.path))
        if not replies:
            return problem(404, f"there is no '{request.path}'", hint="look again")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(peer: Peer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(parts.query))
            reply = peer.answer(Request(self.command, parts.path, query, dict(self.headers), body))
            if reply is None:
                return
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if isinstance(reply.body, bytes):
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            try:
                if isinstance(reply.body, bytes):
                    self.wfile.write(reply.body)
                else:
                    reply.body(self.wfile)  # type: ignore[arg-type]
            except OSError:
                pass  # the client has left

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    return Handler

"""What the answers to an enrolment mean."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from appliance.enrolment import Application, Enrolled, HubUnreachable, enrol
from appliance.errors import EnrolmentRefused, HubUnsuitable
from tests.system.plant import free_port

APPLICATION = Application("token-secret-1", "key", "name", "hwid", "host")


@dataclass
class Answers:
    """A web server that answers what it is told to."""

    status: int = 200
    body: bytes = b""
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.status)
            self.send_header("Content-Length", str(len(answers.body)))
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # so that closing waits for each answer
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    answers.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield answers
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [200, 201])
def test_an_answer_with_an_id_enrols(answers: Answers, status: int) -> None:
    answers.status, answers.body = status, b'{"box_id": "b", "hub": "h", "customer": "c", "more": 1}'
    assert enrol(f"{answers.url}/", APPLICATION) == Enrolled("b", "h", "c")
    ((path, body),) = answers.seen
    assert path == "/api/v1/enrol"
    assert b'"public_key": "key"' in body


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (403, b'{"detail": "the token is used up", "hint": "make another"}', EnrolmentRefused, "used up"),
        (422, b'{"detail": "bad name", "hint": "use another"}', EnrolmentRefused, "bad name"),
        (200, b"<html>hello</html>", HubUnsuitable, "no Operis hub"),
        (200, b"{}", HubUnsuitable, "no Operis hub"),
        (200, b"[1]", HubUnsuitable, "no Operis hub"),
        (404, b"not here", HubUnsuitable, "404"),
        (302, b"", HubUnsuitable, "302"),
        (200, b"x" * 10_000_000, HubUnsuitable, "no Operis hub"),
        (500, b"", HubUnreachable, "500"),
        (503, b'{"detail": "draining", "hint": "wait"}', HubUnreachable, "503"),
        (429, b'{"detail": "too many", "hint": "wait"}', HubUnreachable, "429"),
    ],
)
def test_any_other_answer_says_what_is_wrong(
    answers: Answers, status: int, body: bytes, error: type[Exception], said: str
) -> None:
    answers.status, answers.body = status, body
    with pytest.raises(error, match=said) as caught:
        enrol(answers.url, APPLICATION)
    assert "token-secret-1" not in str(caught.value)
    if isinstance(caught.value, EnrolmentRefused | HubUnsuitable):
        assert caught.value.hint


def test_no_answer_may_come_later() -> None:
    with pytest.raises(HubUnreachable, match="does not answer: Connection refused"):
        enrol(f"http://127.0.0.1:{free_port()}", APPLICATION)

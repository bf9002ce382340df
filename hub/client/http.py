"""Calls to a hub's API: JSON there and back, and every failure as one of `hub.client.errors`."""

import errno
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, RemoteDisconnected
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.response import BaseHTTPResponse

from hub.client.address import Address
from hub.client.errors import ClientError, Misuse, NoHub, Refused, Unreachable

CONNECT_S: Final = 5.0
READ_S: Final = 30.0
# The hub answers a dropped or overloaded moment with these; a proxy before it while it restarts too.
PASSING_STATUSES: Final = frozenset({429, 502, 503, 504})
_BASE: Final = "/api/v1"
# The command, as it names itself.
PROGRAM: Final = "operis"
_AGENT: Final = "operis-client"
_LISTS: Final = {"box": "boxes", "task": "tasks", "artifact": "task ID"}
Query = Mapping[str, str | int | float | None]


class Hub:
    """A hub as its API shows it. Keeps connections open between calls; close it, or use it as a context."""

    def __init__(self, address: Address, *, connect_s: float = CONNECT_S, read_s: float = READ_S) -> None:
        self.address = address
        self._connect_s = connect_s
        self._read_s = read_s
        self._offset_s = 0.0
        self._headers = {"Authorization": f"Bearer {address.key}", "User-Agent": _AGENT}
        self._pool = urllib3.PoolManager(maxsize=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.clear()

    def now(self) -> float:
        """The hub's clock as its newest answer told it, in seconds since 1970: the one that its times are of."""
        return time.time() + self._offset_s

    def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """A JSON object."""
        return self._json("GET", path, query, None, {})

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a JSON object; the JSON object that answers it."""
        return self._json("POST", path, None, body or {}, headers or {})

    def page(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """One page of a list: `{"items": […], "next": …}`."""
        answer = self.get(path, query)
        items = answer.get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self.no_hub("answered with JSON that is no list of a hub's API")
        return answer

    def named(self, what: str, answer: Any) -> dict[str, Any]:
        """The answer, where it is an object with an id, as a box and a task are."""
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise self.no_hub(f"answered with JSON that is no {what}")
        return answer

    def items(self, path: str, query: Query | None = None) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            answer = self.page(path, {**(query or {}), "cursor": cursor})
            yield from answer["items"]
            cursor = answer.get("next")
            if cursor is None:
                return

    @contextmanager
    def open(
        self, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[BaseHTTPResponse]:
        """An answer whose body is still to be read, its status checked; errors while reading are translated too."""
        response = self._send("GET", path, query, None, headers or {})
        try:
            if response.status >= 300:
                raise self._problem(response, self._read(response))
            with self.translated():
                yield response
        finally:
            response.close()
            response.release_conn()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the transport's errors into ours."""
        try:
            yield
        except (HTTPError, OSError) as error:
            raise self._failure(error) from error

    def no_hub(self, what: str) -> NoHub:
        """The error that says that this address is not a hub's."""
        return NoHub(
            f"{self.address.place} {what}: this is no Operis hub",
            "give the address of the hub's web port to --hub, as in http://127.0.0.1:8080",
        )

    def _json(
        self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        response = self._send(method, path, query, body, headers)
        try:
            data = self._read(response)
        finally:
            response.release_conn()
        if response.status >= 300:
            raise self._problem(response, data)
        value = _object(data)
        if value is None:
            raise self.no_hub(f"answered with {_kind(response)}")
        return value

    def _send(
        self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.address.url}{_BASE}/{path}" + (f"?{urlencode(given)}" if given else "")
        sent = {**self._headers, **headers}
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json"
        with self.translated():
            response = self._pool.request(
                method,
                url,
                body=data,
                headers=sent,
                timeout=urllib3.Timeout(connect=self._connect_s, read=self._read_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        self._heed_date(response.headers.get("Date"))
        return response

    def _read(self, response: BaseHTTPResponse) -> bytes:
        with self.translated():
            return response.read(decode_content=True)

    def _heed_date(self, date: str | None) -> None:
        if date:
            try:
                offset = parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
            except ValueError:
                return
            # The header has whole seconds: less than that is no difference.
            self._offset_s = offset if abs(offset) > 1 else 0.0

    def _problem(self, response: BaseHTTPResponse, data: bytes) -> ClientError:
        problem = _object(data)
        if problem is not None and "title" in problem and "status" in problem:
            return Refused.from_problem(response.status, problem)
        if response.status in PASSING_STATUSES:
            return Unreachable(
                f"{self.address.place} answered {response.status} for the hub",
                "the hub is starting, stopping or overloaded: try again in a moment",
            )
        if 300 <= response.status < 400:
            return self.no_hub(f"answered with a redirect ({response.status})")
        if response.status == 426:
            return NoHub(
                f"{self.address.place} is a relay, which takes boxes' WebSocket connections alone",
                "give the address of the hub's web port to --hub (8080 unless 'serve --web' names another)",
            )
        return self.no_hub(f"answered {response.status} with {_kind(response)}")

    def _failure(self, error: HTTPError | OSError) -> ClientError:
        place = self.address.place
        down = "is `operis-hub serve` running there?"
        match error:
            case NameResolutionError():
                return Unreachable(f"no address is known for host {place.rpartition(':')[0]}", "check --hub")
            case NewConnectionError():
                why = _os_error(error)
                if why is not None and why.errno == errno.ECONNREFUSED:
                    return Unreachable(f"connection refused by {place}", down)
                reason = _reason(why) if why else "failed"
                return Unreachable(f"cannot connect to {place}: {reason}", "check --hub and the network")
            case ConnectTimeoutError():
                return Unreachable(f"{place} did not take the connection within {self._connect_s:g} s", down)
            case ReadTimeoutError() | TimeoutError():
                return Unreachable(
                    f"{place} did not answer within {self._read_s:g} s", "try again; look at the hub's log"
                )
            case SSLError() | ssl.SSLError():
                return self._no_trust(error)
            case ProtocolError():
                return self._broken(error)
            case _:
                return Unreachable(f"the connection to {place} failed: {_reason(error)}", "try again")

    def _broken(self, error: ProtocolError) -> ClientError:
        cause = next((part for part in error.args if isinstance(part, BaseException)), None)
        if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
            return self.no_hub("did not answer with HTTP")
        if isinstance(cause, OSError):
            return Unreachable(f"{self.address.place} closed the connection ({_reason(cause)})", "try again")
        return Unreachable(f"the answer of {self.address.place} broke off", "try again")

    def _no_trust(self, error: Exception) -> ClientError:
        place = self.address.place
        text = " ".join(str(error).split())
        if "CERTIFICATE_VERIFY_FAILED" in text:
            why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it cannot be verified"
            return Unreachable(
                f"the certificate of {place} is not trusted: {why}",
                "name the file of its authority in SSL_CERT_FILE, or use the name that it was made for",
                passing=False,
            )
        if any(word in text for word in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")):
            return Unreachable(f"{place} does not speak TLS", "write the address with http://", passing=False)
        return Unreachable(f"no TLS connection to {place}: {_reason(error)}", "check --hub", passing=False)


def segment(text: str, what: str = "task") -> str:
    """The id of a box or a task as one segment of a path; `Misuse` for what would lead to another path."""
    if text in {"", ".", ".."} or "/" in text or "\\" in text:
        raise Misuse(f"'{text}' is no id of a {what}", f"'operis {_LISTS[what]}' lists them")
    return quote(text, safe="")


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _kind(response: BaseHTTPResponse) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    match kind:
        case "text/html":
            return "a web page"
        case "application/json" | "application/problem+json":
            return "JSON of another kind"
        case _:
            return kind if kind and kind.isprintable() else "something else"


def _os_error(error: BaseException) -> OSError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:200] or type(error).__name__

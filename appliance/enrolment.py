"""Asks the hub to take this box: one HTTP request, whose answer is the same however often the same key asks."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from appliance.errors import EnrolmentRefused, HubUnsuitable

PATH: Final = "/api/v1/enrol"
TIMEOUT_S: Final = 20.0
# An answer has a few hundred bytes; what is longer comes from something else.
ANSWER_LIMIT_BYTES: Final = 64 * 1024
_NO_HUB_HINT: Final = "Check --web: it is the address of the hub's API, as in http://HOST:8080."


@dataclass(frozen=True, slots=True)
class Application:
    """What the hub is told; the key has been durable before."""

    token: str
    public_key: str
    name: str
    hwid: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What the hub answered; the box pins the hub's name."""

    box_id: str
    hub: str
    customer: str


class HubUnreachable(Exception):
    """No answer; a retry may get one."""


def enrol(web_url: str, application: Application) -> Enrolled:
    """Ask, and wait for the answer. Raises `EnrolmentRefused`, `HubUnsuitable` or `HubUnreachable`."""
    body = json.dumps({name: getattr(application, name) for name in Application.__slots__}).encode()
    url = web_url.rstrip("/") + PATH
    try:
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S) as pool:
            response = pool.request(
                "POST", url, body=body, headers={"Content-Type": "application/json"}, preload_content=False
            )
            try:
                raw = response.read(ANSWER_LIMIT_BYTES)
            finally:
                response.close()  # of a longer answer the rest is not wanted
    except HTTPError as error:
        raise HubUnreachable(f"{web_url} does not answer: {_reason(error)}") from error
    answer = _read(raw)
    match response.status:
        case HTTPStatus.OK | HTTPStatus.CREATED:
            try:
                return Enrolled(str(answer["box_id"]), str(answer["hub"]), str(answer["customer"]))
            except KeyError:
                raise HubUnsuitable(f"{web_url} answered, but it is no Operis hub", _NO_HUB_HINT) from None
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise HubUnreachable(f"{web_url} cannot enrol a box now (HTTP status {status})")
        case status if "detail" in answer and "hint" in answer:
            raise EnrolmentRefused(f"the hub does not take this box: {answer['detail']}", str(answer["hint"]))
        case status:
            raise HubUnsuitable(f"{web_url} is no Operis hub: it answered with HTTP status {status}", _NO_HUB_HINT)


def _read(raw: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _reason(error: HTTPError) -> str:
    """The system's words where urllib3 wraps them."""
    cause = error.__context__ or error.__cause__
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(error)

"""How the paths of the local API read a request."""

import pwd
import socket
import struct
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from appliance.errors import Refusal
from appliance.local_api.problem import wrong_query
from cloudsync import ranges

# A task's spec fits in one entry of the log (256 KiB); JSON may escape it to a few times its size.
BODY_LIMIT_BYTES: Final = 2 * 1024 * 1024
MAX_WAIT_S: Final = 300.0
LIST_DEFAULT: Final = 100
LIST_LIMIT: Final = 500
# SQLite's INTEGER.
NUMBER_LIMIT: Final = 2**63 - 1
KEY_LIMIT: Final = 255
_CREDENTIALS: Final = struct.Struct("3i")


def peer_name(transport: Any) -> str:
    """The user who connected (unix(7), SO_PEERCRED); `uid N` for one that has no name."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None:
        return ""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def who(request: Request) -> str:
    """The user who asks."""
    return "" if request.client is None else request.client.host


async def read_body(request: Request) -> bytes:
    """The body, up to its limit; 413 above."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            # What is over the limit is read and thrown away: closing on one who still sends would lose the answer.
            if size <= BODY_LIMIT_BYTES:
                parts.append(part)
    except ClientDisconnect as error:
        raise Refusal(400, "cut_off", "the request ended before its body did", "Send it again.") from error
    if size > BODY_LIMIT_BYTES:
        hint = "Put what is long into a file on the box."
        raise Refusal(413, "too_large", f"the body is larger than {BODY_LIMIT_BYTES} bytes", hint)
    return b"".join(parts)


def known_query(request: Request, *names: str) -> None:
    """422 for a parameter that the path does not have."""
    for name in request.query_params:
        if name not in names:
            raise wrong_query(name, "is unknown here", list(names))


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """An integer of the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    is_one = text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high
    if not is_one:
        raise wrong_query(name, f"is '{text[:40]}'", f"{low} to {high}")
    return int(text)


def choice(request: Request, name: str, allowed: tuple[str, ...]) -> str | None:
    """A word of the query out of those allowed."""
    text = request.query_params.get(name)
    if text is not None and text not in allowed:
        raise wrong_query(name, f"is '{text[:40]}'", list(allowed))
    return text


def wait_s(request: Request) -> float | None:
    """How long to wait for the end; None where that was not asked."""
    text = request.query_params.get("wait_s")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_WAIT_S:
        raise wrong_query("wait_s", f"is '{text[:40]}'", f"0 to {MAX_WAIT_S:g}")
    return value


def idempotency_key(request: Request) -> str | None:
    """The key under which a task is made once."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= KEY_LIMIT and key.isprintable()):
        detail = "header: Idempotency-Key is empty, too long or not printable"
        raise Refusal(422, "invalid", detail, f"Give it 1 to {KEY_LIMIT} printable characters.")
    return key


def wanted_range(request: Request, size: int) -> tuple[int, int] | None:
    """The bytes asked for, the end exclusive; None for all of them. 416 where they lie outside."""
    wanted = request.headers.get("range")
    found = ranges.wanted(wanted, size)
    if found is None:
        return None
    if not found:
        raise Refusal(416, "range", f"there are {size} bytes, not {wanted}", "Ask for a range within them.")
    return found.start, found.stop

"""HTTP/1.1 as far as a proxy needs it: heads read strictly and written anew, bodies only counted.

What is passed on is what was understood: no two readings of one message are possible, so nothing can be smuggled past
a check in the space between them (RFC 9112, section 11).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from appliance.browser.errors import MessageWrong
from cloudsync.hosts import split_authority

# Browsers send cookies of up to 180 × 4 KiB a site; servers take 8 to 64 KiB in all.
HEAD_LIMIT_BYTES: Final = 256 * 1024
# A chunk's size line or a trailer.
LINE_LIMIT_BYTES: Final = 16 * 1024
# Says that an answer is the proxy's own, and of which kind; taken out of what sites answer.
MARKER: Final = b"x-operis-proxy"

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+\Z")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}\Z")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
# RFC 9110, section 7.6.1; those that concern the proxy alone; and its own.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
        b"proxy-connection", b"te", b"upgrade", MARKER,
    }
)  # fmt: skip

# Of RFC 2616, and still sent.
_NO_CODING: Final = (b"transfer-encoding", b"identity")

Headers = list[tuple[bytes, bytes]]


class Length:
    """A body of known length; 0 where there is none."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes

    @property
    def ended(self) -> bool:
        """Whether nothing of it is to come."""
        return self._left == 0

    def take(self, data: bytes) -> int:
        """How many bytes at the start of `data` belong to it."""
        taken = min(self._left, len(data))
        self._left -= taken
        return taken


class UntilClose:
    """A body that ends with its connection."""

    ended: Final = False

    def take(self, data: bytes) -> int:
        """All of it."""
        return len(data)


class Chunked:
    """A chunked body (RFC 9112, section 7.1), passed on as it is; anything out of form raises `MessageWrong`."""

    def __init__(self) -> None:
        self.ended = False
        self._left = 0  # of a chunk and the line end behind it
        self._line = bytearray()  # a size line or a trailer that has only begun
        self._trailers = False

    def take(self, data: bytes) -> int:
        """How many bytes at the start of `data` belong to it."""
        at = 0
        size = len(data)
        while at < size and not self.ended:
            if self._left > 2:
                step = min(self._left - 2, size - at)
                self._left -= step
                at += step
            elif self._left:
                if data[at] != b"\n\r"[self._left - 1]:
                    raise MessageWrong("a chunk is longer than it says", 502)
                self._left -= 1
                at += 1
            else:
                at = self._take_line(data, at)
        return at

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > LINE_LIMIT_BYTES:
            raise MessageWrong("a line of a chunked body is too long", 502)
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            if not line.endswith(b"\r\n"):
                raise MessageWrong("a line of a chunked body does not end as it must", 502)
            self._read_line(line[:-2])
        return stop

    def _read_line(self, line: bytes) -> None:
        if self._trailers:
            self.ended = not line
            if line:
                _field(line)
            return
        found = _CHUNK_SIZE.match(line)
        if not found:
            raise MessageWrong("a chunk does not say its size", 502)
        size = int(found[1], 16)
        self._trailers = size == 0
        self._left = size + 2 if size else 0


Body = Length | UntilClose | Chunked


@dataclass(slots=True)
class Request:
    """A request to the proxy; `path` is empty for CONNECT."""

    method: bytes
    host: str
    port: int
    path: bytes
    headers: Headers
    body: Body
    keep_alive: bool

    @property
    def tunnel(self) -> bool:
        """Whether it asks for a tunnel."""
        return self.method == b"CONNECT"

    def head(self, authority: bytes) -> bytes:
        """The head as its site gets it. The Host is that of the URL, whatever the request said (RFC 9112, 3.2.2)."""
        kept = ((name, value) for name, value in self.headers if name.lower() != b"host")
        return _head(b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (self.method, self.path, authority), kept)


@dataclass(slots=True)
class Response:
    """A site's answer to a request."""

    status: int
    reason: bytes
    headers: Headers
    body: Body
    keep_alive: bool

    def head(self, *, close: bool) -> bytes:
        """The head as the browser gets it."""
        start = b"HTTP/1.1 %d %b\r\n" % (self.status, self.reason)
        return _head(start + b"Connection: close\r\n" if close else start, self.headers)


def head_end(buffer: bytearray, *, lenient: bool = False) -> int:
    """Where the head that `buffer` starts with ends, or -1; `lenient` takes bare line ends too."""
    end = buffer.find(b"\r\n\r\n")
    end = end + 4 if end >= 0 else -1
    if lenient:
        bare = min((at for at in (buffer.find(b"\n\n") + 2, buffer.find(b"\n\r\n") + 3) if at > 2), default=-1)
        if bare >= 0 and (end < 0 or bare < end):
            return bare
    return end


def read_request(head: bytes) -> Request:
    """A request from its head, with the empty line. Raises `MessageWrong`."""
    line, *lines = head[:-4].split(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not _TOKEN.match(parts[0]) or not _TARGET.match(parts[1]):
        raise MessageWrong("the request line is malformed")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise MessageWrong("only HTTP/1.1 is spoken here", 505)
    authority, path = (target, b"") if method == b"CONNECT" else _split_target(target)
    try:
        host, port = split_authority(authority.decode("ascii"), 80 if path else None)
    except ValueError as error:
        raise MessageWrong(str(error)) from None
    headers = [_field(line) for line in lines]
    coding = _values(headers, b"transfer-encoding")
    length = _length(headers)
    if coding and (length is not None or [value.lower() for value in coding] != [b"chunked"]):
        raise MessageWrong("the length of the request is ambiguous")
    body: Body = Chunked() if coding else Length(length or 0)
    keep_alive = version == b"HTTP/1.1" and b"close" not in _tokens(headers, b"proxy-connection", b"connection")
    return Request(method, host, port, path, _end_to_end(headers), body, keep_alive)


def read_response(head: bytes, method: bytes) -> Response:
    """A site's answer to a request of this method, from its head. Raises `MessageWrong`."""
    line, *lines = [line.removesuffix(b"\r") for line in head.rstrip(b"\r\n").split(b"\n")]
    found = _STATUS_LINE.match(line)
    if not found:
        raise MessageWrong("the site does not speak HTTP/1.1", 502)
    status = int(found[2])
    # Browsers pass over a line that is no header; what is left out here they do not even see.
    headers = [field for line in _unfolded(lines) if (field := _field_or_none(line)) is not None]
    headers = [field for field in headers if (field[0].lower(), field[1].lower()) != _NO_CODING]
    coding = _values(headers, b"transfer-encoding")
    length = _length(headers, 502)
    # 101 would be the answer to an upgrade, which is never passed on; 407 asks for the credentials of a proxy.
    if status in (101, 407) or (coding and [value.lower() for value in coding] != [b"chunked"]):
        raise MessageWrong("the site answers what was not asked", 502)
    body: Body
    if method == b"HEAD" or status < 200 or status in (204, 304):
        body = Length(0)
    elif coding:
        headers = [field for field in headers if field[0].lower() != b"content-length"]
        body = Chunked()
    else:
        body = UntilClose() if length is None else Length(length)
    keep_alive = found[1] == b"1" and b"close" not in _tokens(headers, b"connection")
    keep_alive = keep_alive and not isinstance(body, UntilClose)
    return Response(status, found[3] or b"", _end_to_end(headers), body, keep_alive)


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Authority and path of a URL in a request. Raises `MessageWrong`."""
    if target[:7].lower() != b"http://":
        raise MessageWrong("this is a proxy: it takes CONNECT and http URLs")
    rest = target[7:]
    if b"#" in rest or b"\\" in rest:
        raise MessageWrong("the URL of the request is malformed")
    at = min((place for place in (rest.find(b"/"), rest.find(b"?")) if place >= 0), default=len(rest))
    path = rest[at:]
    return rest[:at], path if path.startswith(b"/") else b"/" + path


def _field_or_none(line: bytes) -> tuple[bytes, bytes] | None:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.match(name) or not _VALUE.match(value):
        return None
    return name, value.strip(b" \t")


def _field(line: bytes, status: int = 400) -> tuple[bytes, bytes]:
    field = _field_or_none(line)
    if field is None:
        raise MessageWrong("a header is malformed", status)
    return field


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Headers that go on over several lines, as one line each (RFC 9112, section 5.2)."""
    whole: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and whole:
            whole[-1] += b" " + line.strip(b" \t")
        else:
            whole.append(line)
    return whole


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _tokens(headers: Headers, *names: bytes) -> set[bytes]:
    listed = b",".join(value for name in names for value in _values(headers, name))
    return {token.strip(b" \t").lower() for token in listed.split(b",")} if listed else set()


def _length(headers: Headers, status: int = 400) -> int | None:
    values = set(_values(headers, b"content-length"))
    if not values:
        return None
    value = values.pop()
    if values or not _DIGITS.match(value):
        raise MessageWrong("the length of the message is ambiguous", status)
    return int(value)


def _end_to_end(headers: Headers) -> Headers:
    """Without what is meant for the next hop alone."""
    named = _tokens(headers, b"connection") - {b"transfer-encoding", b"content-length", b"host"}
    return [field for field in headers if (key := field[0].lower()) not in _HOP_BY_HOP and key not in named]


def _head(start: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return start + b"".join([b"%b: %b\r\n" % field for field in headers]) + b"\r\n"

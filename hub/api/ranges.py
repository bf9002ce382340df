"""Byte ranges of a request (RFC 9110, section 14), one at a time."""

import re
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from hub.api.problem import problem
from hub.errors import Refusal

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes to answer with, `start` to before `stop`; `is_part`: a range was asked for."""

    start: int
    stop: int
    size: int
    is_part: bool

    @property
    def status(self) -> int:
        """Of the answer."""
        return 206 if self.is_part else 200

    def headers(self) -> dict[str, str]:
        """Of the answer."""
        found = {"accept-ranges": "bytes", "content-length": str(self.stop - self.start)}
        if self.is_part:
            found["content-range"] = f"bytes {self.start}-{self.stop - 1}/{self.size}"
        return found


def wanted(request: Request, size: int, etag: str | None = None) -> Span | Response:
    """The bytes that a request wants of so many; a 416 where it has none of them. What is no range is all of them."""
    text = request.headers.get("range")
    match = _RANGE.match(text) if text else None
    condition = request.headers.get("if-range")
    if match is None or match.group() == "bytes=-" or (condition is not None and condition != etag):
        return Span(0, size, size, is_part=False)
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start < stop and start < size:
        return Span(start, stop, size, is_part=True)
    answer = problem(Refusal(416, "range", f"there are {size} bytes, not {text}", hint="ask for a range within it"))
    answer.headers["content-range"] = f"bytes */{size}"
    return answer

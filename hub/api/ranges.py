"""The part of some bytes that a request wants, as it is answered."""

from dataclasses import dataclass

from fastapi import Request, Response

from cloudsync import ranges
from hub.api.problem import problem
from hub.errors import Refusal


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
    found = ranges.wanted(text, size)
    condition = request.headers.get("if-range")
    if found is None or (condition is not None and condition != etag):
        return Span(0, size, size, is_part=False)
    if found:
        return Span(found.start, found.stop, size, is_part=True)
    answer = problem(Refusal(416, "range", f"there are {size} bytes, not {text}", hint="ask for a range within it"))
    answer.headers["content-range"] = f"bytes */{size}"
    return answer

"""Which bytes a request wants."""

import pytest
from fastapi import Request, Response

from hub.api.ranges import Span, wanted


def asked(size: int, **headers: str) -> Span | Response:
    """What a request with these headers wants of so many bytes."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return wanted(Request({"type": "http", "headers": raw}), size, '"tag"')


@pytest.mark.parametrize(
    ("text", "start", "stop", "is_part"),
    [
        ("bytes=0-3", 0, 4, True),
        ("bytes=4-", 4, 10, True),
        ("bytes=-3", 7, 10, True),
        ("bytes=-99", 0, 10, True),
        ("bytes=9-999999999999", 9, 10, True),
        ("bytes=-", 0, 10, False),
        ("bytes=0-1,3-4", 0, 10, False),
        ("lines=0-1", 0, 10, False),
        ("bytes=a-b", 0, 10, False),
    ],
)
def test_one_range_is_a_part_and_what_is_none_is_all(text: str, start: int, stop: int, is_part: bool) -> None:
    span = asked(10, range=text)
    assert isinstance(span, Span)
    assert (span.start, span.stop, span.is_part) == (start, stop, is_part)
    assert span.status == (206 if is_part else 200)
    assert span.headers()["content-length"] == str(stop - start)
    assert ("content-range" in span.headers()) is is_part


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=5-2", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_with_none_of_the_bytes_is_refused_with_how_many_there_are(text: str, size: int) -> None:
    answer = asked(size, range=text)
    assert isinstance(answer, Response)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")


def test_a_range_of_what_has_changed_since_is_all_of_it() -> None:
    for condition, is_part in (('"tag"', True), ('"other"', False)):
        span = asked(10, range="bytes=0-3", if_range=condition)
        assert isinstance(span, Span)
        assert span.is_part is is_part

"""Bytes as responses."""

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from appliance.errors import Refusal
from appliance.local_api import content

DATA = bytes(range(256)) * 1024


def a_request(wanted: str | None = None) -> Request:
    headers = [] if wanted is None else [(b"range", wanted.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""})


async def body_of(response: Response) -> bytes:
    assert isinstance(response, StreamingResponse)
    pieces = [bytes(piece) if not isinstance(piece, str) else b"" async for piece in response.body_iterator]
    assert all(len(piece) <= content.PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("wanted", "status", "start", "stop"),
    [
        (None, 200, 0, len(DATA)),
        ("bytes=100000-200000", 206, 100_000, 200_001),
        ("bytes=-5", 206, len(DATA) - 5, len(DATA)),
    ],
)
async def test_a_file_goes_out_in_pieces(
    tmp_path: Path, wanted: str | None, status: int, start: int, stop: int
) -> None:
    (tmp_path / "f").write_bytes(DATA)
    answer = content.of_file(a_request(wanted), tmp_path / "f", "image/png", {"etag": "x"})
    assert (answer.status_code, await body_of(answer)) == (status, DATA[start:stop])
    assert answer.headers["content-length"] == str(stop - start)
    assert (answer.headers["content-type"], answer.headers["etag"]) == ("image/png", "x")
    assert answer.headers.get("content-range") == (f"bytes {start}-{stop - 1}/{len(DATA)}" if wanted else None)


async def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert await body_of(content.of_file(a_request(), tmp_path / "none")) == b""
    assert not content.exists(tmp_path / "none")
    with pytest.raises(Refusal):
        content.of_file(a_request("bytes=0-"), tmp_path / "none")


async def test_what_is_in_memory_goes_out_too() -> None:
    answer = content.of_bytes(a_request("bytes=1-2"), b"abcd", {})
    assert (answer.status_code, await body_of(answer), answer.headers["content-range"]) == (206, b"bc", "bytes 1-2/4")

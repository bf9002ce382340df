"""How a request is read."""

import asyncio
import getpass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from appliance.errors import Refusal
from appliance.local_api import request as asked


def a_request(headers: dict[str, str] | None = None, **query: str) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": raw, "query_string": urlencode(query).encode()}
    return Request(scope)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        (None, None),
        ("bytes=-", None),
        ("items=0-1", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=8-99", (8, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
    ],
)
def test_a_range_is_read_as_http_has_it(wanted: str | None, part: tuple[int, int] | None) -> None:
    assert asked.wanted_range(a_request({} if wanted is None else {"Range": wanted}), 10) == part


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-20", "bytes=5-2", "bytes=-0"])
def test_a_range_outside_is_416(wanted: str) -> None:
    with pytest.raises(Refusal, match="there are 10 bytes") as caught:
        asked.wanted_range(a_request({"Range": wanted}), 10)
    assert caught.value.status == 416


@pytest.mark.parametrize("text", ["0", "6", "x", "", "-1", "1.0", "²", "9" * 400])
def test_a_number_outside_is_422_with_what_is_allowed(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        asked.number(a_request(limit=text), "limit", 3, 1, 5)
    assert (caught.value.status, caught.value.more["errors"][0]["allowed"]) == (422, "1 to 5")


def test_what_is_not_given_has_its_default() -> None:
    request = a_request()
    assert asked.number(request, "limit", 3, 1, 5) == 3
    assert asked.choice(request, "state", ("a",)) is None
    assert asked.wait_s(request) is None
    assert asked.idempotency_key(request) is None
    asked.known_query(request)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("300", 300.0)])
def test_a_wait_is_in_seconds(text: str, seconds: float) -> None:
    assert asked.wait_s(a_request(wait_s=text)) == seconds


@pytest.mark.parametrize("key", ["", "a\tb", "x" * 256])
def test_a_key_that_cannot_be_is_422(key: str) -> None:
    with pytest.raises(Refusal, match="Idempotency-Key"):
        asked.idempotency_key(a_request({"Idempotency-Key": key}))


def test_a_parameter_that_the_path_does_not_have_is_named_and_cut() -> None:
    with pytest.raises(Refusal) as caught:
        asked.known_query(a_request(None, **{"x" * 1000: "1"}), "limit")
    assert len(str(caught.value)) < 300
    assert "limit" in caught.value.hint


async def test_the_peer_is_the_user_who_connected(tmp_path: Path) -> None:
    names: asyncio.Queue[str] = asyncio.Queue()

    def came(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        names.put_nowait(asked.peer_name(writer.transport))
        writer.close()

    server = await asyncio.start_unix_server(came, tmp_path / "s")
    _, writer = await asyncio.open_unix_connection(tmp_path / "s")
    assert await asyncio.wait_for(names.get(), 10) == getpass.getuser()
    writer.close()
    server.close()

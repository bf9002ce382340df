"""Heads read strictly, bodies counted exactly."""

import pytest
from hypothesis import given, strategies as st

from appliance.browser.errors import MessageWrong
from appliance.browser.http1 import Chunked, Length, UntilClose, head_end, read_request, read_response


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def test_a_request_is_read_and_written_anew() -> None:
    request = read_request(
        head(
            "GET http://Example.com:8080/a?b HTTP/1.1",
            "Host: other.example",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "Connection: X-Hop, Content-Length",
            "X-Hop: 1",
            "Accept: */*",
        )
    )
    assert (request.method, request.host, request.port) == (b"GET", "Example.com", 8080)
    assert request.keep_alive
    assert request.body.ended
    assert request.head(b"example.com:8080") == head("GET /a?b HTTP/1.1", "Host: example.com:8080", "Accept: */*")


@pytest.mark.parametrize(
    ("target", "path"), [("http://a", b"/"), ("http://a?x", b"/?x"), ("HTTP://a/", b"/"), ("http://a//b", b"//b")]
)
def test_the_path_of_a_url_is_what_its_site_is_asked(target: str, path: bytes) -> None:
    assert read_request(head(f"GET {target} HTTP/1.1")).path == path


def test_a_tunnel_is_asked_for_a_host_and_a_port() -> None:
    request = read_request(head("CONNECT [::1]:443 HTTP/1.1", "Host: [::1]:443"))
    assert request.tunnel
    assert (request.host, request.port) == ("[::1]", 443)


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /a HTTP/1.1", "Host: x"],
        ["GET https://a/ HTTP/1.1"],
        ["GET file:///etc/passwd HTTP/1.1"],
        ["GET http://u:p@a/ HTTP/1.1"],
        ["GET http://a/#f HTTP/1.1"],
        ["GET http://a\\b/ HTTP/1.1"],
        ["GET http://a:0/ HTTP/1.1"],
        ["GET  http://a/ HTTP/1.1"],
        ["GET http://a/ b HTTP/1.1"],
        ["GET http://a/\tb HTTP/1.1"],
        ["GET http://\xe9/ HTTP/1.1"],
        ["GET http://a/ HTTP/2.0"],
        ["GET http://a/"],
        ["G(T http://a/ HTTP/1.1"],
        ["CONNECT a HTTP/1.1"],
        ["CONNECT http://a:1/ HTTP/1.1"],
        ["GET http://a/ HTTP/1.1", "X"],
        ["GET http://a/ HTTP/1.1", "X : 1"],
        ["GET http://a/ HTTP/1.1", " X: 1"],
        ["GET http://a/ HTTP/1.1", "X: a\nY: b"],
        ["GET http://a/ HTTP/1.1", "X: a\rY: b"],
        ["GET http://a/ HTTP/1.1", "X: a\0"],
        ["GET http://a/ HTTP/1.1", "X: 1", " folded"],
        ["POST http://a/ HTTP/1.1", "Content-Length: 1", "Content-Length: 2"],
        ["POST http://a/ HTTP/1.1", "Content-Length: 1, 1"],
        ["POST http://a/ HTTP/1.1", "Content-Length: +1"],
        ["POST http://a/ HTTP/1.1", "Content-Length: 0x1"],
        ["POST http://a/ HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"],
        ["POST http://a/ HTTP/1.1", "Transfer-Encoding: gzip, chunked"],
        ["POST http://a/ HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["POST http://a/ HTTP/1.1", "Transfer-Encoding: xchunked"],
        ["POST http://a/ HTTP/1.1", "Transfer-Encoding:"],
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(lines: list[str]) -> None:
    with pytest.raises(MessageWrong):
        read_request(head(*lines))


@pytest.mark.parametrize(
    ("lines", "method", "kind", "keep_alive"),
    [
        (["HTTP/1.1 200 OK", "Content-Length: 5"], b"GET", Length, True),
        (["HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"], b"GET", Length, True),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: Chunked", "Content-Length: 5"], b"GET", Chunked, True),
        (["HTTP/1.1 200"], b"GET", UntilClose, False),
        (["HTTP/1.0 200 OK", "Content-Length: 5"], b"GET", Length, False),
        (["HTTP/1.1 200 OK", "Content-Length: 5", "Connection: Close"], b"GET", Length, False),
        (["HTTP/1.1 200 OK", "Content-Length: 5"], b"HEAD", Length, True),
        (["HTTP/1.1 304 Not Modified", "Content-Length: 5"], b"GET", Length, True),
        (["HTTP/1.1 103 Early Hints"], b"GET", Length, True),
    ],
)
def test_an_answer_says_how_it_ends(lines: list[str], method: bytes, kind: type, keep_alive: bool) -> None:
    response = read_response(head(*lines), method)
    assert type(response.body) is kind
    assert response.keep_alive is keep_alive


def test_an_answer_is_written_anew() -> None:
    sloppy = b"HTTP/1.0 200 Fine\nA: 1\n  folded\nConnection: close\nX-Operis-Proxy: blocked\nProxy-Connection: x\n\n"
    assert head_end(bytearray(sloppy), lenient=True) == len(sloppy)
    response = read_response(sloppy, b"GET")
    assert response.head(close=True) == head("HTTP/1.1 200 Fine", "Connection: close", "A: 1 folded")
    assert response.head(close=False) == head("HTTP/1.1 200 Fine", "A: 1 folded")


def test_a_line_of_an_answer_that_is_no_header_is_left_out() -> None:
    lines = ("X Y: 1", "no colon", "Z: a\0b", "Content-Length : 7", ": 1", "Transfer-Encoding: Identity", "A: 1")
    response = read_response(head("HTTP/1.1 200 OK", *lines, "Content-Length: 5"), b"GET")
    assert response.head(close=False) == head("HTTP/1.1 200 OK", "A: 1", "Content-Length: 5")
    assert response.body.take(b"hello!") == 5


@pytest.mark.parametrize(
    "lines",
    [
        ["ICY 200 OK"],
        ["HTTP/2 200 OK"],
        ["HTTP/1.1 2000 OK"],
        ["HTTP/1.1 20 OK"],
        ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"],
        ["HTTP/1.1 407 Proxy Authentication Required"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"],
        ["HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"],
        [" HTTP/1.1 200 OK"],
    ],
)
def test_an_answer_out_of_form_is_not_passed_on(lines: list[str]) -> None:
    with pytest.raises(MessageWrong):
        read_response(head(*lines), b"GET")


def test_a_head_ends_at_its_empty_line() -> None:
    assert head_end(bytearray(b"a\r\n\r\nb\r\n\r\n")) == 5
    assert head_end(bytearray(b"a\n\nb")) == -1
    assert head_end(bytearray(b"a\n\nb\r\n\r\n"), lenient=True) == 3
    assert head_end(bytearray(b"a\n\r\nb"), lenient=True) == 4
    assert head_end(bytearray(b"a\r\n\r\nb"), lenient=True) == 5
    assert head_end(bytearray(b"a\r\nb"), lenient=True) == -1


@given(st.lists(st.binary(min_size=1, max_size=40)), st.booleans(), st.data())
def test_a_chunked_body_ends_at_the_same_byte_however_it_comes(
    chunks: list[bytes], trailer: bool, data: st.DataObject
) -> None:
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += b"0\r\n" + (b"X: 1\r\n" if trailer else b"") + b"\r\n"
    stream = body + b"next"
    counted = Chunked()
    at = 0
    while at < len(stream) and not counted.ended:
        piece = stream[at : at + data.draw(st.integers(1, 30))]
        taken = counted.take(piece)
        assert taken == len(piece) or counted.ended
        at += taken
    assert at == len(body)
    assert counted.take(b"next") == 0


@pytest.mark.parametrize(
    "body",
    [b"\r\n",
     b"g\r\n", b"-1\r\n", b"0x1\r\n", b"1\n", b" 1\r\n", b"1\r\nab", b"1\r\na\n", b"1\r\na\rb", b"f" * 16 + b"\r\n",
     b"0\r\nX\r\n", b"0\r\nX : 1\r\n", b"1;" + b"x" * 20000],
)  # fmt: skip
def test_a_chunked_body_out_of_form_is_refused(body: bytes) -> None:
    with pytest.raises(MessageWrong):
        Chunked().take(body)

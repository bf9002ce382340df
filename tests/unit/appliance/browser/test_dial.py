"""Looking names up and connecting to what was judged, directly and through another proxy."""

import asyncio
import base64
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance.browser import dial
from appliance.browser.allow import AllowPolicy
from appliance.browser.dial import Upstream, connect, resolve
from appliance.browser.errors import Unreachable
from appliance.browser.proxy import FilterProxy
from tests.unit.appliance.browser.sites import DEADLINE_S, Answer, Client, Site, names, site

LOOPBACK = ip_address("127.0.0.1")


async def test_a_name_of_the_boxs_own_table_is_looked_up() -> None:
    assert LOOPBACK in await resolve("localhost")


@pytest.mark.parametrize("name", ["does-not-exist.invalid", "a" * 64 + ".example", "127.0.0.1%x"])
async def test_a_name_without_an_address_says_so(name: str) -> None:
    with pytest.raises(Unreachable, match=name):
        await resolve(name)


async def test_a_resolver_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "LOOKUP_DEADLINE_S", 0.1)
    hang = threading.Event()

    def hanging(*_: object, **__: object) -> Sequence[object]:
        hang.wait(DEADLINE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    try:
        answers = await asyncio.gather(*(resolve("x.example") for _ in range(20)), return_exceptions=True)
    finally:
        hang.set()
    said = [str(answer) for answer in answers]
    assert said.count("x.example: no answer from the resolver in 0 s") == dial.LOOKUPS_AT_ONCE
    assert all(isinstance(answer, Unreachable) for answer in answers)


class Plain(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.close = transport.close


async def test_the_next_address_is_tried_where_one_refuses_or_does_not_answer() -> None:
    async with site() as there:
        for dead in ("127.0.0.9", "192.0.2.77"):
            began = time.monotonic()
            made = await connect(Plain, [ip_address(dead), LOOPBACK], there.port)
            assert time.monotonic() - began < 5
            made.close()
        assert there.connections == 2


async def test_what_nobody_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "CONNECT_DEADLINE_S", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(Unreachable, match="no answer in 0 s"):
            await connect(asyncio.Protocol, [LOOPBACK], port)
        for one in waiting:
            one.close()


async def test_a_refused_connection_says_where() -> None:
    async with site() as there:
        port = there.port
    with pytest.raises(Unreachable, match=rf"127.0.0.1 port {port}: Connection refused"):
        await connect(asyncio.Protocol, [LOOPBACK], port)


@pytest.mark.parametrize(
    ("server", "host", "port", "secure"),
    [
        ("proxy.example:3128", "proxy.example", 3128, False),
        ("http://proxy.example", "proxy.example", 80, False),
        ("https://proxy.example/", "proxy.example", 443, True),
        ("http://[::1]:3128", "::1", 3128, False),
    ],
)
def test_an_upstream_is_read(server: str, host: str, port: int, secure: bool) -> None:
    assert Upstream.of(server) == Upstream(host, port, secure)


@pytest.mark.parametrize(
    "server", ["", "socks5://x:1", "http://u:p@x:1", "http://x/path", "http://x?q", "http://x:99999", "file:///x"]
)
def test_an_upstream_out_of_form_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Upstream.of(server)


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Upstream.of("http://x", "user", "secret"))
    assert base64.b64encode(b"user:secret").decode() not in repr(Upstream.of("http://x", "user", "secret"))


async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Another proxy, which takes every CONNECT with the right credentials."""
    head = await reader.readuntil(b"\r\n\r\n")
    asked.append(head)
    if b"Proxy-Authorization: Basic " + base64.b64encode(b"user:secret") not in head:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return
    there_reader, there_writer = await asyncio.open_connection(*head.split(b" ")[1].decode().rsplit(":", 1))
    writer.write(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    try:
        await asyncio.gather(pass_on(reader, there_writer), pass_on(there_reader, writer))
    finally:
        there_writer.transport.abort()


asked: list[bytes] = []


@asynccontextmanager
async def chained(upstream: Upstream) -> AsyncIterator[FilterProxy]:
    resolver = names({"x.example": ["127.0.0.1"], "proxy.example": ["127.0.0.1"], "inner.example": ["10.0.0.1"]})
    asked.clear()
    proxy = await FilterProxy.start(AllowPolicy.of(["127.0.0.1"]), resolver=resolver, upstream=upstream)
    try:
        yield proxy
    finally:
        await proxy.close()


async def test_an_upstream_is_asked_for_the_address_that_was_judged() -> None:
    async with site() as there, site(through, raw=True) as other:
        upstream = Upstream.of(f"proxy.example:{other.port}", "user", "secret")
        async with chained(upstream) as proxy, Client.of(proxy) as client, Client.of(proxy) as tunnelled:
            assert await client.get(f"http://x.example:{there.port}/a") == (200, b"hello")
            assert (await client.get("http://inner.example/"))[0] == 403
            assert await tunnelled.tunnel(f"x.example:{there.port}") == 200
            tunnelled.send("GET /b HTTP/1.1\r\n\r\n")
            assert await tunnelled.answer() == (200, b"hello")
    assert [head.split(b" ")[1] for head in asked] == [f"127.0.0.1:{there.port}".encode()] * 2
    assert [head.split(b" ")[1] for head in there.heads] == [b"/a", b"/b"]
    assert b"Authorization" not in there.heads[0]


async def test_an_upstream_that_refuses_is_said_to() -> None:
    async with site() as there, site(through, raw=True) as other:
        async with (
            chained(Upstream.of(f"127.0.0.1:{other.port}", "user", "wrong")) as proxy,
            Client.of(proxy) as client,
        ):
            status, body = await client.get(f"http://x.example:{there.port}/")
        assert status == 502
        assert b"407 Proxy Authentication Required" in body
        assert b"wrong" not in body


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"x" * 20000, b"SSH-2.0\r\n\r\n"])
async def test_an_upstream_that_is_no_proxy_is_said_to_be_none(answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with site(other, raw=True) as no_proxy:
        upstream = Upstream.of(f"127.0.0.1:{no_proxy.port}")
        async with chained(upstream) as proxy, Client.of(proxy) as client:
            assert (await client.get("http://x.example:8080/"))[0] == 502


@asynccontextmanager
async def secured(answer: Answer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site that speaks TLS as proxy.example, whose certificate is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("proxy.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "pair.pem"
    file.write_bytes(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    there = Site("127.0.0.1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.connections += 1
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    there.port = server.sockets[0].getsockname()[1]
    try:
        yield there
    finally:
        server.close()


async def test_an_upstream_may_speak_tls_and_must_be_who_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as there, secured(through, tmp_path, monkeypatch) as other:
        upstream = Upstream.of(f"https://proxy.example:{other.port}", "user", "secret")
        async with chained(upstream) as proxy, Client.of(proxy) as client:
            for _ in range(3):
                assert await client.get(f"http://x.example:{there.port}/") == (200, b"hello")
        upstream = Upstream.of(f"https://x.example:{other.port}", "user", "secret")
        async with chained(upstream) as proxy, Client.of(proxy) as client:
            status, body = await client.get(f"http://x.example:{there.port}/")
            assert status == 502
            assert b"certificate" in body
        assert len(there.heads) == 3

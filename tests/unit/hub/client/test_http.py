"""Every failure of a call says what happened, to what, and what to do."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from hub.client.address import read_address
from hub.client.errors import ClientError, Misuse, NoHub, Refused, Unreachable
from hub.client.http import Hub, segment
from tests.unit.hub.client.peer import KEY, Peer, Reply, a_box, as_json, page, problem


def hub_at(url: str) -> Hub:
    return Hub(read_address(url, KEY), connect_s=0.5, read_s=0.5)


def failure(hub: Hub, path: str = "boxes") -> ClientError:
    with hub, pytest.raises(ClientError) as caught:
        hub.get(path)
    assert KEY not in f"{caught.value} {caught.value.hint}"
    assert "\n" not in str(caught.value)
    return caught.value


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each connection as it likes; HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_call_carries_key_query_and_body(hub: Hub, peer: Peer) -> None:
    peer.tell("GET", "boxes", page(a_box()))
    peer.tell("POST", "boxes/b/tasks", as_json({"id": "x"}, 201))
    hub.page("boxes", {"name": "two words", "status": None})
    hub.post("boxes/b/tasks", {"command": "\N{EURO SIGN}"}, headers={"Idempotency-Key": "k"})
    asked, made = peer.requests
    assert asked.query == {"name": "two words"}
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert (made.json, made.headers["Idempotency-Key"]) == ({"command": "\N{EURO SIGN}"}, "k")


def test_list_is_read_over_all_its_pages(hub: Hub, peer: Peer) -> None:
    peer.tell("GET", "boxes", page(a_box("b-1"), after="2"), page(a_box("b-2")))
    assert [box["id"] for box in hub.items("boxes", {"limit": 1})] == ["b-1", "b-2"]
    assert [one.query for one in peer.requests] == [{"limit": "1"}, {"limit": "1", "cursor": "2"}]


def test_hub_that_is_down_is_named_with_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
    error = failure(hub_at(f"http://{place}"))
    assert isinstance(error, Unreachable)
    assert str(error) == f"connection refused by {place}"
    assert "operis-hub serve" in error.hint


def test_host_without_an_address_is_named() -> None:
    error = failure(hub_at("http://no-such-host.invalid"))
    assert isinstance(error, Unreachable)
    assert "no-such-host.invalid" in str(error)
    assert error.hint


def test_hub_that_does_not_answer_is_given_up_on() -> None:
    with raw_server(lambda _: time.sleep(0.8)) as place:
        error = failure(hub_at(f"http://{place}"))
    assert isinstance(error, Unreachable)
    assert str(error) == f"{place} did not answer within 0.5 s"


def test_connection_that_closes_without_an_answer_may_succeed_later(hub: Hub, peer: Peer) -> None:
    peer.tell("GET", "boxes", None)
    error = failure(hub)
    assert isinstance(error, Unreachable)
    assert error.passing


def test_answer_that_breaks_off_is_no_answer(hub: Hub, peer: Peer) -> None:
    peer.tell("GET", "boxes", Reply(200, lambda _: None, {"Content-Length": "100"}))
    assert isinstance(failure(hub), Unreachable)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(200, b"<html>hello", {"Content-Type": "text/html; charset=utf-8"}), "a web page"),
        (Reply(404, b"<html>gone", {"Content-Type": "text/html"}), "answered 404 with a web page"),
        (Reply(200, b"[1]", {"Content-Type": "application/json"}), "JSON of another kind"),
        (Reply(404, b'{"message":"no"}', {"Content-Type": "application/json"}), "JSON of another kind"),
        (Reply(200, b"\x00\xff", {"Content-Type": "image/png"}), "image/png"),
        (Reply(200, b""), "something else"),
        (Reply(302, b"", {"Location": "http://elsewhere/"}), "a redirect (302)"),
        (Reply(426, b"Upgrade Required"), "is a relay"),
        (as_json({"hello": 1}), "JSON that is no list"),
        (as_json({"items": [1]}), "JSON that is no list"),
    ],
)
def test_server_that_is_no_hub_is_told_from_one(hub: Hub, peer: Peer, reply: Reply, says: str) -> None:
    peer.tell("GET", "boxes", reply)
    with hub, pytest.raises(NoHub, match=says.replace("(", r"\(").replace(")", r"\)")) as caught:
        hub.page("boxes")
    assert peer.place in str(caught.value)
    assert "--hub" in caught.value.hint


def test_program_that_does_not_speak_http_is_no_hub() -> None:
    def greet(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    with raw_server(greet) as place:
        error = failure(hub_at(f"http://{place}"))
    assert isinstance(error, NoHub)
    assert "did not answer with HTTP" in str(error)


def test_https_to_a_port_that_speaks_http_says_so(peer: Peer) -> None:
    error = failure(hub_at(f"https://{peer.place}"))
    assert isinstance(error, Unreachable)
    assert str(error) == f"{peer.place} does not speak TLS"
    assert error.hint == "write the address with http://"
    assert not error.passing


def test_certificate_of_an_unknown_authority_is_refused(tls_server: str) -> None:
    error = failure(hub_at(f"https://{tls_server}"))
    assert isinstance(error, Unreachable)
    assert "is not trusted" in str(error)
    assert "SSL_CERT_FILE" in error.hint
    assert not error.passing


@pytest.mark.parametrize("status", [502, 503, 504])
def test_proxy_that_answers_for_the_hub_is_worth_another_try(hub: Hub, peer: Peer, status: int) -> None:
    peer.tell("GET", "boxes", Reply(status, b"<html>", {"Content-Type": "text/html"}))
    error = failure(hub)
    assert isinstance(error, Unreachable)
    assert error.passing
    assert error.hint


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 503])
def test_problem_of_the_hub_is_its_own_words(hub: Hub, peer: Peer, status: int) -> None:
    peer.tell("GET", "boxes", problem(status, "it is so", hint="do this"))
    error = failure(hub)
    assert isinstance(error, Refused)
    assert (error.status, str(error), error.hint) == (status, "it is so", "do this")


def test_time_is_the_hubs_where_the_clocks_differ(hub: Hub, peer: Peer) -> None:
    elsewhere = datetime(2030, 1, 1, tzinfo=UTC)
    reply = Reply(200, b"{}", {"Content-Type": "application/json", "Date": format_datetime(elsewhere, usegmt=True)})
    peer.tell("GET", "fleet", reply)
    hub.get("fleet")
    assert abs(hub.now() - elsewhere.timestamp()) < 5


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "../tasks", "a\\b"])
def test_id_that_would_lead_to_another_path_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="no id of a box"):
        segment(text, "box")


def test_id_is_one_segment_of_the_path() -> None:
    assert segment("a b?c#d%e") == "a%20b%3Fc%23d%25e"


@pytest.fixture
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a server whose certificate nobody vouches for."""
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(_own_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def greet(connection: socket.socket) -> None:
        # The client does not trust us, and leaves.
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with raw_server(greet) as place:
        yield place


def _own_certificate() -> bytes:
    """Key and certificate in one PEM, signed by itself."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)

"""How hosts and grants are read."""

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, strategies as st

from cloudsync.hosts import Host, NameGrant, NetworkGrant, parse_grant, parse_host, split_authority, unmapped


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("a_b.example", "a_b.example"),
        ("localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", IPv4Address("127.0.0.1")),
        ("127.0.0.1.", IPv4Address("127.0.0.1")),
        ("0177.0.0.1", IPv4Address("127.0.0.1")),
        ("0x7f.1", IPv4Address("127.0.0.1")),
        ("0X7F000001", IPv4Address("127.0.0.1")),
        ("2130706433", IPv4Address("127.0.0.1")),
        ("017700000001", IPv4Address("127.0.0.1")),
        ("127.1", IPv4Address("127.0.0.1")),
        ("127.0.1", IPv4Address("127.0.0.1")),
        ("10.0x00.0.01", IPv4Address("10.0.0.1")),
        ("0", IPv4Address("0.0.0.0")),
        ("0x", IPv4Address("0.0.0.0")),
        ("１２７.0.0.1", IPv4Address("127.0.0.1")),
        ("127。0。0。1", IPv4Address("127.0.0.1")),
        ("[::1]", IPv6Address("::1")),
        ("[::FFFF:7f00:1]", IPv6Address("::ffff:127.0.0.1")),
        ("[0:0:0:0:0:ffff:10.0.0.1]", IPv6Address("::ffff:10.0.0.1")),
    ],
)
def test_a_host_is_read_as_a_browser_reads_it(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        "example.com..",
        ".example.com",
        "exa mple.com",
        "a%2eb",
        "user@host",
        "host:80",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "::1",
        "[::1",
        "::1]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
        "[]",
        "256.0.0.1",
        "1.2.3.4.5",
        "127.0.0.08",
        "4294967296",
        "1.2.3.256",
        "1.256.3",
        "example.1",
        "example.0x7f",
        "a." * 127 + "com",
        "a" * 64 + ".com",
        "faß.de",
        "a\u200db.de",
        "\ud800.de",
    ],
)
def test_what_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_host(text)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.lists(st.sampled_from("dox"), min_size=4, max_size=4))
def test_no_spelling_of_an_address_is_a_name(value: int, count: int, bases: list[str]) -> None:
    heads = [value >> (8 * (3 - place)) & 0xFF for place in range(count - 1)]
    numbers = [*heads, value & (256 ** (5 - count) - 1)]
    spelt = [
        {"d": str(n), "o": f"0{n:o}", "x": f"0x{n:x}"}[base] for n, base in zip(numbers, bases[:count], strict=True)
    ]
    assert parse_host(".".join(spelt)) == IPv4Address(value)


@given(st.text())
def test_any_text_is_a_host_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        host = parse_host(text)
        assert not isinstance(host, str) or parse_host(host) == host


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a.b:81", ("a.b", 81)), ("a.b", ("a.b", 80)), ("[::1]:81", ("[::1]", 81)), ("[::1]", ("[::1]", 80))],
)
def test_an_authority_is_split(text: str, parts: tuple[str, int]) -> None:
    assert split_authority(text, 80) == parts


@pytest.mark.parametrize(
    "text", ["u@a:1", "u:p@a:1", "a:", "a:0", "a:65536", "a:+1", "a: 1", "a:１", "::1", "[::1]x:1"]
)
def test_an_authority_out_of_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        split_authority(text, 80)


def test_an_authority_without_a_port_is_refused_where_none_is_implied() -> None:
    with pytest.raises(ValueError, match="lacks a port"):
        split_authority("a.b", None)


def test_a_mapped_address_is_the_one_it_leads_to() -> None:
    assert unmapped(IPv6Address("::ffff:10.0.0.1")) == IPv4Address("10.0.0.1")
    assert unmapped(IPv6Address("2606::1")) == IPv6Address("2606::1")


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("App.LAN", NameGrant("app.lan", False, None)),
        ("app.lan:8080", NameGrant("app.lan", False, 8080)),
        ("*.example.com", NameGrant("example.com", True, None)),
        ("*.example.com:443", NameGrant("example.com", True, 443)),
        ("bücher.example", NameGrant("xn--bcher-kva.example", False, None)),
        ("10.0.0.7", NetworkGrant(ip_network("10.0.0.7/32"), None)),
        ("10.0.0.7:80", NetworkGrant(ip_network("10.0.0.7/32"), 80)),
        ("10.0.0.1/8", NetworkGrant(ip_network("10.0.0.0/8"), None)),
        ("10.0.0.0/8", NetworkGrant(ip_network("10.0.0.0/8"), None)),
        ("::1", NetworkGrant(ip_network("::1/128"), None)),
        ("[::1]", NetworkGrant(ip_network("::1/128"), None)),
        ("[::1]:80", NetworkGrant(ip_network("::1/128"), 80)),
        ("fd00::/8", NetworkGrant(ip_network("fd00::/8"), None)),
        ("::ffff:10.0.0.1", NetworkGrant(ip_network("10.0.0.1/32"), None)),
        ("::ffff:10.0.0.0/104", NetworkGrant(ip_network("10.0.0.0/8"), None)),
    ],
)
def test_a_grant_is_read(text: str, grant: NameGrant | NetworkGrant) -> None:
    assert parse_grant(text) == grant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1 to 253"),
        ("*", "no host name"),
        ("*.", "1 to 253"),
        ("a.*.b", "no host name"),
        ("*.10.0.0.1", "is not how an address is written"),
        ("0177.0.0.1", "127.0.0.1 would be"),
        ("127.1", "127.0.0.1 would be"),
        ("10.0.0.0/33", "no network"),
        ("http://app.lan", "is a URL"),
        ("http://app.lan/x", "is a URL"),
        ("app.lan/x", "no network"),
        ("user@app.lan", "no host name"),
        ("user@app.lan:80", "credentials"),
        ("app.lan:0", "no port"),
        ("fe80::1%eth0", "zone"),
    ],
)
def test_a_grant_out_of_form_is_refused_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_grant(text)


def test_a_name_grant_covers_just_what_it_says() -> None:
    exact = NameGrant("example.com", False, None)
    below = NameGrant("example.com", True, 443)
    assert exact.covers("example.com", 80)
    assert not exact.covers("www.example.com", 80)
    assert below.covers("a.b.example.com", 443)
    assert not below.covers("a.example.com", 80)
    assert not below.covers("example.com", 443)
    assert not below.covers("badexample.com", 443)


def test_a_network_grant_covers_just_what_it_says() -> None:
    grant = NetworkGrant(ip_network("10.0.0.0/24"), 80)
    assert grant.covers(IPv4Address("10.0.0.9"), 80)
    assert not grant.covers(IPv4Address("10.0.0.9"), 81)
    assert not grant.covers(IPv4Address("10.0.1.9"), 80)
    assert not grant.covers(IPv6Address("::1"), 80)

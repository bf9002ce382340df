"""What a browser task may reach."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from appliance.browser.allow import AllowPolicy, Kind, kind_of, known_addresses, scheme_allowed, scheme_of
from cloudsync.hosts import parse_host

PUBLIC = ip_address("93.184.216.34")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0.0.0.0", Kind.UNSPECIFIED),
        ("0.255.255.255", Kind.UNSPECIFIED),
        ("10.0.0.1", Kind.PRIVATE),
        ("10.255.255.255", Kind.PRIVATE),
        ("100.64.0.1", Kind.SHARED),
        ("100.127.255.255", Kind.SHARED),
        ("100.100.100.200", Kind.METADATA),
        ("127.0.0.1", Kind.LOOPBACK),
        ("127.255.255.254", Kind.LOOPBACK),
        ("168.63.129.16", Kind.METADATA),
        ("169.254.0.1", Kind.LINK_LOCAL),
        ("169.254.169.254", Kind.METADATA),
        ("172.16.0.1", Kind.PRIVATE),
        ("172.31.255.255", Kind.PRIVATE),
        ("192.0.0.8", Kind.RESERVED),
        ("192.0.2.1", Kind.RESERVED),
        ("192.88.99.1", Kind.TUNNEL),
        ("192.168.1.1", Kind.PRIVATE),
        ("198.18.0.1", Kind.RESERVED),
        ("198.51.100.1", Kind.RESERVED),
        ("203.0.113.1", Kind.RESERVED),
        ("224.0.0.251", Kind.MULTICAST),
        ("239.255.255.250", Kind.MULTICAST),
        ("240.0.0.1", Kind.RESERVED),
        ("255.255.255.255", Kind.UNSPECIFIED),
        ("::", Kind.UNSPECIFIED),
        ("::1", Kind.LOOPBACK),
        ("::ffff:127.0.0.1", Kind.LOOPBACK),
        ("::ffff:10.0.0.1", Kind.PRIVATE),
        ("::ffff:169.254.169.254", Kind.METADATA),
        ("::127.0.0.1", Kind.TUNNEL),
        ("::ffff:0:127.0.0.1", Kind.RESERVED),
        ("64:ff9b::127.0.0.1", Kind.LOOPBACK),
        ("64:ff9b::a9fe:a9fe", Kind.METADATA),
        ("64:ff9b:1::10.0.0.1", Kind.RESERVED),
        ("100::1", Kind.RESERVED),
        ("2001::1", Kind.TUNNEL),
        ("2001:20::1", Kind.RESERVED),
        ("2001:db8::1", Kind.RESERVED),
        ("2002:7f00:1::", Kind.TUNNEL),
        ("3fff::1", Kind.RESERVED),
        ("5f00::1", Kind.RESERVED),
        ("fc00::1", Kind.PRIVATE),
        ("fd00:ec2::254", Kind.METADATA),
        ("fdff::1", Kind.PRIVATE),
        ("fe80::1", Kind.LINK_LOCAL),
        ("fec0::1", Kind.PRIVATE),
        ("ff02::fb", Kind.MULTICAST),
    ],
)
def test_an_address_that_is_not_public_is_known_for_what_it_is(text: str, kind: Kind) -> None:
    assert kind_of(ip_address(text)) is kind


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "223.255.255.255", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2606:4700::1111", "2a00:1450::1",
    ],
)  # fmt: skip
def test_a_public_address_is_public(text: str) -> None:
    assert kind_of(ip_address(text)) is None


@given(st.ip_addresses())
def test_nothing_is_public_that_the_library_knows_as_not_global(address: object) -> None:
    address = ip_address(str(address))
    if not address.is_global and address not in ip_network("64:ff9b::/96"):
        assert kind_of(address) is not None


def test_an_address_in_the_boxs_own_network_is_not_public() -> None:
    near = [ip_network("2a00:1450:1::/64")]
    assert kind_of(ip_address("2a00:1450:1::7"), near) is Kind.NEAR
    assert kind_of(ip_address("2a00:1450:2::7"), near) is None


def judged(allow: list[str], host: str, *addresses: str, port: int = 443) -> str:
    """The addresses that may be visited, or else the reason."""
    parsed = parse_host(host)
    found = tuple(map(ip_address, addresses)) or known_addresses(parsed) or ()
    verdict = AllowPolicy.of(allow).judge(parsed, port, found)
    return " ".join(map(str, verdict.addresses)) or verdict.reason


def test_without_grants_only_public_addresses_are_visited() -> None:
    assert judged([], "example.com", "93.184.216.34") == "93.184.216.34"
    assert judged([], "93.184.216.34") == "93.184.216.34"


def test_the_reason_names_host_address_and_remedy() -> None:
    assert judged([], "x.example", "10.0.0.1") == (
        "host x.example resolves to 10.0.0.1, which is not public (private); grant it with allow"
    )
    assert judged([], "10.0.0.1") == "10.0.0.1 is not public (private); grant it with allow"
    assert "grant the address itself with allow" in judged(["x.example"], "x.example", "169.254.169.254")


def test_of_a_mixed_answer_only_what_is_allowed_is_used() -> None:
    assert judged([], "x.example", "10.0.0.1", "93.184.216.34", "::1") == "93.184.216.34"
    assert judged(["10.0.0.0/8"], "x.example", "10.0.0.1", "127.0.0.1") == "10.0.0.1"


def test_a_granted_name_may_lead_into_the_box_and_its_network() -> None:
    for address in ("127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"):
        assert judged(["app.lan"], "APP.lan.", address) == address
        assert "not public" in judged(["app.lan"], "other.lan", address)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:169.254.169.254"])
def test_a_granted_name_does_not_lead_where_only_an_address_is_meant(address: str) -> None:
    assert "not public" in judged(["app.lan"], "app.lan", address)
    assert judged([address], "app.lan", address)


def test_a_grant_of_a_name_is_none_of_its_address() -> None:
    assert "not public" in judged(["localhost"], "127.0.0.1")
    assert judged(["localhost"], "localhost") == "127.0.0.1 ::1"
    assert judged(["127.0.0.1"], "localhost") == "127.0.0.1"


def test_subdomains_are_granted_apart_from_their_domain() -> None:
    assert judged(["*.lan"], "a.b.lan", "10.0.0.1") == "10.0.0.1"
    assert "not public" in judged(["*.lan"], "lan", "10.0.0.1")
    assert "not public" in judged(["*.a.lan"], "ba.lan", "10.0.0.1")


def test_a_network_is_granted_to_addresses_and_to_names_in_it() -> None:
    assert judged(["10.0.0.0/8"], "10.1.2.3") == "10.1.2.3"
    assert judged(["10.0.0.0/8"], "[::ffff:10.1.2.3]") == "10.1.2.3"
    assert judged(["10.0.0.0/8"], "x.example", "10.1.2.3") == "10.1.2.3"
    assert "not public" in judged(["10.0.0.0/8"], "11.1.2.3", "172.16.0.1")


def test_a_grant_with_a_port_covers_no_other() -> None:
    assert judged(["127.0.0.1:8080"], "127.0.0.1", port=8080) == "127.0.0.1"
    assert "not public" in judged(["127.0.0.1:8080"], "127.0.0.1", port=8081)


def test_ports_of_other_protocols_are_refused_unless_they_are_meant() -> None:
    assert judged([], "93.184.216.34", port=25) == "port 25 is not for the web"
    assert judged(["127.0.0.1"], "127.0.0.1", port=22) == "port 22 is not for the web"
    assert judged(["127.0.0.1:22"], "127.0.0.1", port=22) == "127.0.0.1"
    assert judged(["app.lan:6000"], "app.lan", "127.0.0.1", port=6000) == "127.0.0.1"


def test_a_name_of_the_box_itself_needs_no_look_up() -> None:
    assert (
        known_addresses("localhost") == known_addresses("a.localhost") == (ip_address("127.0.0.1"), ip_address("::1"))
    )
    assert known_addresses("localhost.example") is None
    assert known_addresses(PUBLIC) == (PUBLIC,)


def test_an_entry_that_is_no_grant_is_refused() -> None:
    with pytest.raises(ValueError, match="is a URL"):
        AllowPolicy.of(["http://app.lan/"])


@pytest.mark.parametrize(
    "url", ["http://x", "https://x/y", "HTTP://x", " https://x", "ht\ntp://x", "about:blank", "About:blank#x"]
)
def test_a_page_of_the_web_may_be_opened(url: str) -> None:
    assert scheme_allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//x", "file:///etc/passwd", "FILE:///etc", "fi\nle:///etc", "\x01file:///etc", "chrome://version",
        "chrome-untrusted://x", "devtools://x", "data:text/html,x", "javascript:alert(1)", "view-source:http://x",
        "blob:http://x/y", "filesystem:http://x/y", "about:version", "about:srcdoc", "about:blankx", "ftp://x",
        "ws://x", "chrome-extension://x", "intent:x",
    ],
)  # fmt: skip
def test_nothing_else_may_be_opened(url: str) -> None:
    assert not scheme_allowed(url)


def test_a_scheme_is_read_as_a_browser_reads_it() -> None:
    assert scheme_of("\t JaVa\nScript:x") == "javascript"
    assert scheme_of("/path:x") is None

"""Host names and addresses as a browser reads them, and the grants that a task's `allow` is made of.

A host is read as the URL Standard reads it (section 3.5, host parsing), so that no spelling of an address passes for a
name: `0177.0.0.1`, `2130706433`, `0x7f.1` and `127.1` are all 127.0.0.1. What that standard would repair, and a browser
therefore never sends, is refused.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Host = str | IPv4Address | IPv6Address

NAME_LIMIT: Final = 253
LABEL_LIMIT: Final = 63

_LABEL: Final = re.compile(r"[a-z0-9_-]+\Z")
_NUMBER: Final = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_PORT: Final = re.compile(r"[0-9]{1,5}\Z")
# Characters that the older IDNA maps away and browsers keep: the two would see different names.
_DEVIATIONS: Final = frozenset("ß\u1e9eς\u200c\u200d")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def parse_host(text: str) -> Host:
    """The host that a browser makes of `text`: a name in lower case without its last dot, or an address.

    An IPv6 address stands in brackets. Raises `ValueError` with a sentence.
    """
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError(f"{text} lacks its closing bracket")
        return _ipv6(text[1:-1])
    name = _ascii(text).lower().removesuffix(".")
    if not name or len(name) > NAME_LIMIT:
        raise ValueError(f"a host has 1 to {NAME_LIMIT} characters")
    labels = name.split(".")
    if _NUMBER.match(labels[-1]):
        return _ipv4(labels, text)
    for label in labels:
        if not label or len(label) > LABEL_LIMIT or not _LABEL.match(label):
            raise ValueError(f"{text} is no host name")
    return name


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    if not _DEVIATIONS.isdisjoint(text):
        raise ValueError(f"{text} is read differently by different programs: write its xn-- form")
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{text} is no host name") from None


def _ipv4(labels: list[str], text: str) -> IPv4Address:
    """Section 3.5, the IPv4 parser: one to four numbers, decimal, octal or hexadecimal, the last of which fills up."""
    if len(labels) > 4:
        raise ValueError(f"{text} is no IPv4 address")
    numbers = [_number(label, text) for label in labels]
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (5 - len(numbers)):
        raise ValueError(f"{text} is no IPv4 address")
    return IPv4Address(last + sum(head << (8 * (3 - place)) for place, head in enumerate(heads)))


def _number(label: str, text: str) -> int:
    try:
        if label[:2].lower() == "0x":
            return int(label[2:] or "0", 16)
        if label[0] == "0" and len(label) > 1:
            return int(label, 8)
        return int(label, 10)
    except (ValueError, IndexError):
        raise ValueError(f"{text} is no IPv4 address") from None


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise ValueError(f"{text} has a zone, which means something on one link only")
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text} is no IPv6 address") from None


def split_authority(text: str, default_port: int | None) -> tuple[str, int]:
    """The host, as it is written, and the port of `host[:port]`. Raises `ValueError` with a sentence."""
    if "@" in text:
        raise ValueError("a host and a port may not come with credentials")
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
    else:
        host, colon, rest = text.partition(":")
        rest = colon + rest
    if not rest:
        if default_port is None:
            raise ValueError(f"{text} lacks a port")
        return host, default_port
    port = rest[1:]
    if rest[0] != ":" or not _PORT.match(port) or not 0 < int(port) < 65536:
        raise ValueError(f"{text} has no port from 1 to 65535")
    return host, int(port)


def unmapped(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one (::ffff:a.b.c.d), as what it is: that is where the kernel goes."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class NameGrant:
    """A host name may be visited wherever it leads; with `subdomains` all names below it, and not itself."""

    name: str
    subdomains: bool
    port: int | None

    def covers(self, name: str, port: int) -> bool:
        """Whether a name, as `parse_host` gives it, is granted at a port."""
        if self.port not in (None, port):
            return False
        return name.endswith("." + self.name) if self.subdomains else name == self.name


@dataclass(frozen=True, slots=True)
class NetworkGrant:
    """Addresses that may be visited by any name."""

    network: Network
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        """Whether an address, as `unmapped` gives it, is granted at a port."""
        return self.port in (None, port) and address in self.network


Grant = NameGrant | NetworkGrant


def parse_grant(text: str) -> Grant:
    """One entry of `allow`: `app.lan`, `*.example.com`, `10.0.0.7`, `10.0.0.0/8`, `::1`, `app.lan:8080`.

    Raises `ValueError` with a sentence that says what would be allowed.
    """
    if "/" in text:
        return NetworkGrant(_network(text), None)
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    host, port = _host_and_port(text)
    subdomains = host.startswith("*.")
    parsed = parse_host(host[2:] if subdomains else host)
    if isinstance(parsed, str):
        return NameGrant(parsed, subdomains, port)
    if subdomains or (isinstance(parsed, IPv4Address) and str(parsed) != host):
        raise ValueError(f"{text} is not how an address is written: {parsed} would be")
    return NetworkGrant(ip_network(unmapped(parsed)), port)


def _host_and_port(text: str) -> tuple[str, int | None]:
    host, colon, _ = text.rpartition(":")
    if (colon and not host.startswith("[")) or host.endswith("]"):
        return split_authority(text, None)
    return text, None


def _network(text: str) -> Network:
    if "://" in text:
        raise ValueError(f"{text} is a URL: name the host alone, as in app.lan or app.lan:8080")
    try:
        network = ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError as error:
        raise ValueError(f"{text} is no network: {error}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = network.network_address.ipv4_mapped
        return IPv4Network((int(inner) if inner is not None else 0, network.prefixlen - 96))
    return network

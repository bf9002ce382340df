"""Decides what a browser task may reach: public addresses, and what its `allow` grants beside them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Self

from cloudsync.hosts import (
    Address,
    Grant,
    Host,
    NameGrant,
    Network,
    NetworkGrant,
    parse_grant,
    unmapped,
)


class Kind(Enum):
    """What an address that is not public is, in the words of a message."""

    LOOPBACK = "loopback, the box itself"
    PRIVATE = "private"
    SHARED = "shared address space of a provider"
    NEAR = "in the box's own network"
    LINK_LOCAL = "link-local"
    METADATA = "a cloud's metadata service"
    MULTICAST = "multicast"
    UNSPECIFIED = "no address of a host"
    TUNNEL = "a tunnel to another address"
    RESERVED = "reserved"


# A name that was granted may lead here. The rest takes a grant of the address: nobody means it by a name, and a name's
# owner could lead there whoever trusts the name.
NAMED_KINDS: Final = frozenset({Kind.LOOPBACK, Kind.PRIVATE, Kind.SHARED, Kind.NEAR, Kind.RESERVED})

# The first that holds an address wins. IANA special-purpose registries, RFC 6890, and the metadata services of clouds.
_SPECIAL: Final[Sequence[tuple[Network, Kind]]] = (
    (IPv4Network("169.254.169.254/32"), Kind.METADATA),
    (IPv4Network("100.100.100.200/32"), Kind.METADATA),
    (IPv4Network("168.63.129.16/32"), Kind.METADATA),
    (IPv4Network("0.0.0.0/8"), Kind.UNSPECIFIED),
    (IPv4Network("10.0.0.0/8"), Kind.PRIVATE),
    (IPv4Network("100.64.0.0/10"), Kind.SHARED),
    (IPv4Network("127.0.0.0/8"), Kind.LOOPBACK),
    (IPv4Network("169.254.0.0/16"), Kind.LINK_LOCAL),
    (IPv4Network("172.16.0.0/12"), Kind.PRIVATE),
    (IPv4Network("192.0.0.0/24"), Kind.RESERVED),
    (IPv4Network("192.0.2.0/24"), Kind.RESERVED),
    (IPv4Network("192.88.99.0/24"), Kind.TUNNEL),
    (IPv4Network("192.168.0.0/16"), Kind.PRIVATE),
    (IPv4Network("198.18.0.0/15"), Kind.RESERVED),
    (IPv4Network("198.51.100.0/24"), Kind.RESERVED),
    (IPv4Network("203.0.113.0/24"), Kind.RESERVED),
    (IPv4Network("224.0.0.0/4"), Kind.MULTICAST),
    (IPv4Network("255.255.255.255/32"), Kind.UNSPECIFIED),
    (IPv4Network("240.0.0.0/4"), Kind.RESERVED),
    (IPv6Network("fd00:ec2::254/128"), Kind.METADATA),
    (IPv6Network("fd20:ce::254/128"), Kind.METADATA),
    (IPv6Network("::/128"), Kind.UNSPECIFIED),
    (IPv6Network("::1/128"), Kind.LOOPBACK),
    (IPv6Network("::/96"), Kind.TUNNEL),
    (IPv6Network("fc00::/7"), Kind.PRIVATE),
    (IPv6Network("fec0::/10"), Kind.PRIVATE),
    (IPv6Network("fe80::/10"), Kind.LINK_LOCAL),
    (IPv6Network("ff00::/8"), Kind.MULTICAST),
    (IPv6Network("2001::/32"), Kind.TUNNEL),
    (IPv6Network("2001::/23"), Kind.RESERVED),
    (IPv6Network("2001:db8::/32"), Kind.RESERVED),
    (IPv6Network("2002::/16"), Kind.TUNNEL),
    (IPv6Network("3fff::/20"), Kind.RESERVED),
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
# RFC 4291, section 2.4: all global unicast that was ever given out is in here.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

# Fetch Standard, section 2.9, port blocking: where another protocol listens that could take a request for its own.
BAD_PORTS: Final = frozenset(
    {
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
        110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
        531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
        5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
    }
)  # fmt: skip

_LOOPBACK_ADDRESSES: Final[tuple[Address, ...]] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_STRIPPED: Final = "".join(map(chr, range(0x21)))
_REMOVED: Final = str.maketrans("", "", "\t\n\r")


def kind_of(address: Address, near: Iterable[Network] = ()) -> Kind | None:
    """Why an address is not public, or None where it is; `near` are the networks that the box itself is in."""
    address = unmapped(address)
    if isinstance(address, IPv6Address) and address in _NAT64:
        # A translator takes it to this IPv4 address (RFC 6052): that one counts.
        return kind_of(IPv4Address(int(address) & 0xFFFFFFFF), near)
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return Kind.RESERVED
    if any(address in network for network in near):
        return Kind.NEAR
    return None


def known_addresses(host: Host) -> tuple[Address, ...] | None:
    """The addresses of a host that needs no look-up: an address, or a name of the box itself (RFC 6761)."""
    if not isinstance(host, str):
        return (host,)
    return _LOOPBACK_ADDRESSES if host == "localhost" or host.endswith(".localhost") else None


def scheme_of(url: str) -> str | None:
    """The scheme of a URL in lower case, as a browser reads it; None where it has none."""
    found = _SCHEME.match(url.strip(_STRIPPED).translate(_REMOVED))
    return found[1].lower() if found else None


def scheme_allowed(url: str) -> bool:
    """Whether a page may be opened by this URL: http, https and about:blank."""
    match scheme_of(url):
        case "http" | "https":
            return True
        case "about":
            rest = url.strip(_STRIPPED).translate(_REMOVED)[len("about:") :]
            return re.split(r"[?#]", rest, maxsplit=1)[0] == "blank"
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a request may go: `addresses`, of which at least one is there, or else `reason` says why it may not."""

    addresses: tuple[Address, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AllowPolicy:
    """What one task may reach."""

    grants: tuple[Grant, ...] = ()
    near: tuple[Network, ...] = ()
    """Networks that the box itself is in: public though their addresses may be, they are not the public's."""

    @classmethod
    def of(cls, allow: Iterable[str], near: Iterable[Network] = ()) -> Self:
        """The policy of a task's `allow`. Raises `ValueError` with a sentence for an entry that is none."""
        return cls(tuple(map(parse_grant, allow)), tuple(near))

    def judge(self, host: Host, port: int, addresses: Sequence[Address]) -> Verdict:
        """Which of a host's addresses may be connected to; nobody else's answer may be used for the connection."""
        if port in BAD_PORTS and not self._granted_port(host, port, addresses):
            return Verdict((), f"port {port} is not for the web")
        allowed = tuple(unmapped(address) for address in addresses if self._allows(host, port, address))
        if allowed:
            return Verdict(allowed)
        if not addresses:
            return Verdict((), f"{host} has no address")
        address = addresses[0]
        kind = kind_of(address, self.near)
        what = "not public" if kind is None else f"not public ({kind.value})"
        who = f"{host} is" if not isinstance(host, str) else f"host {host} resolves to {address}, which is"
        grant = "it" if kind in NAMED_KINDS or not isinstance(host, str) else "the address itself"
        return Verdict((), f"{who} {what}; grant {grant} with allow")

    def _allows(self, host: Host, port: int, address: Address) -> bool:
        address = unmapped(address)
        kind = kind_of(address, self.near)
        if kind is None or self._network_granted(address, port):
            return True
        return kind in NAMED_KINDS and isinstance(host, str) and self._name_granted(host, port)

    def _network_granted(self, address: Address, port: int) -> bool:
        return any(isinstance(grant, NetworkGrant) and grant.covers(address, port) for grant in self.grants)

    def _name_granted(self, name: str, port: int) -> bool:
        return any(isinstance(grant, NameGrant) and grant.covers(name, port) for grant in self.grants)

    def _granted_port(self, host: Host, port: int, addresses: Sequence[Address]) -> bool:
        """Whether a grant names just this port, and so means it."""
        named = AllowPolicy(tuple(grant for grant in self.grants if grant.port == port), self.near)
        if isinstance(host, str) and named._name_granted(host, port):
            return True
        return any(named._network_granted(unmapped(address), port) for address in addresses)

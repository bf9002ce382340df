"""The networks that the box itself is in, whose addresses are not the public's even where they are public ones."""

import socket
from ipaddress import ip_address, ip_network
from typing import Final

import psutil

from cloudsync.hosts import Network

# No local network is wider; but some point-to-point links say that the whole internet is on theirs.
WIDEST_PREFIX: Final = {4: 16, 6: 32}


def near_networks() -> tuple[Network, ...]:
    """The networks of the box's interfaces, and in any case its own addresses."""
    return tuple(
        network_of(entry.address, entry.netmask)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    )


def network_of(address: str, netmask: str | None) -> Network:
    """The network of an interface's address, which may have a zone; the address alone where that is no local one."""
    own = ip_address(address.partition("%")[0])
    prefix: int = own.max_prefixlen
    if netmask is not None:
        prefix = int(ip_address(netmask)).bit_count()
    if prefix < WIDEST_PREFIX[own.version]:
        prefix = own.max_prefixlen
    return ip_network(f"{own}/{prefix}", strict=False)

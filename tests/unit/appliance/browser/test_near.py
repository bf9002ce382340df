"""The networks that the box is in."""

from ipaddress import ip_address, ip_network

import pytest

from appliance.browser.near import near_networks, network_of


def test_the_box_is_near_itself() -> None:
    networks = near_networks()
    assert any(ip_address("127.0.0.1") in network for network in networks)


@pytest.mark.parametrize(
    ("address", "netmask", "network"),
    [
        ("192.168.1.7", "255.255.255.0", "192.168.1.0/24"),
        ("100.64.0.9", "255.255.255.255", "100.64.0.9/32"),
        ("100.64.0.9", None, "100.64.0.9/32"),
        ("100.64.0.9", "0.0.0.0", "100.64.0.9/32"),
        ("2a00:1::7", "ffff:ffff:ffff:ffff::", "2a00:1::/64"),
        ("fe80::7%eth0", "ffff:ffff:ffff:ffff::", "fe80::/64"),
        ("2a00:1::7", "e000::", "2a00:1::7/128"),
    ],
)
def test_a_network_is_that_of_its_netmask_unless_that_is_no_local_one(
    address: str, netmask: str | None, network: str
) -> None:
    assert network_of(address, netmask) == ip_network(network)

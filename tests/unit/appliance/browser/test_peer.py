"""Whose a local connection is."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from appliance.browser import peer
from appliance.browser.peer import uid_of_peer

Ends = tuple[tuple[str, int], tuple[str, int]]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection of ours, as the side that accepted it sees them."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as there,
        listener.accept()[0] as here,
    ):
        assert there.getsockname() == here.getpeername()
        yield here.getsockname(), here.getpeername()


def asked(own: tuple[str, int], there: tuple[str, int]) -> int | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as kernel:
        return peer._asked(kernel, own, there)


@pytest.mark.parametrize("way", [uid_of_peer, asked, peer._listed])
def test_the_other_end_of_our_own_connection_is_ours(
    ends: Ends, way: Callable[[tuple[str, int], tuple[str, int]], int | None]
) -> None:
    own, there = ends
    assert way(own, there) == os.geteuid()
    assert way(own, ("127.0.0.2", there[1])) is None
    assert way((own[0], own[1] ^ 1), there) is None

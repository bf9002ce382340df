"""What the kernel says of links, read from real messages and from made ones."""

import struct

from appliance.carrier import Carrier

NEW_LINK, NEW_ADDRESS, OTHER = 16, 20, 24
RUNNING = 0x40


def message(kind: int, index: int = 1, flags: int = 0) -> bytes:
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


async def opened() -> Carrier:
    carrier = Carrier.open(lambda: None)
    assert carrier is not None
    return carrier


async def test_an_address_is_a_return() -> None:
    carrier = await opened()
    assert carrier.has_returned(message(NEW_ADDRESS))
    assert not carrier.has_returned(message(OTHER))
    carrier.close()


async def test_a_link_returns_when_it_was_seen_down_before() -> None:
    carrier = await opened()
    assert not carrier.has_returned(message(NEW_LINK, 1, RUNNING))
    assert not carrier.has_returned(message(NEW_LINK, 1, RUNNING))
    assert not carrier.has_returned(message(NEW_LINK, 1, 0))
    assert not carrier.has_returned(message(NEW_LINK, 2, RUNNING))
    assert carrier.has_returned(message(NEW_LINK, 1, RUNNING))
    assert carrier.has_returned(message(NEW_LINK, 1, 0) + message(NEW_LINK, 1, RUNNING))
    carrier.close()


async def test_cut_or_senseless_messages_are_passed_over() -> None:
    carrier = await opened()
    whole = message(NEW_LINK, 1, RUNNING)
    for end in range(len(whole)):
        carrier.has_returned(whole[:end])
    assert not carrier.has_returned(bytes(64))
    assert not carrier.has_returned(b"\xff" * 64)
    carrier.close()

"""Hears from the kernel when a network link comes back, so that the box need not wait for its next attempt."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Self

# rtnetlink(7) and <linux/rtnetlink.h>
_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_ADDRESS: Final = 0x10
_RTMGRP_IPV6_ADDRESS: Final = 0x100
_RTM_NEWLINK: Final = 16
_RTM_NEWADDR: Final = 20
_IFF_RUNNING: Final = 0x40
_HEADER: Final = struct.Struct("=IHHII")
_INTERFACE: Final = struct.Struct("=BxHiII")
_READ_BYTES: Final = 65536


class Carrier:
    """Calls `on_return` when an interface begins to run or gets an address."""

    def __init__(self, netlink: socket.socket, on_return: Callable[[], None]) -> None:
        self._netlink = netlink
        self._on_return = on_return
        self._is_running: dict[int, bool] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(netlink, self._readable)

    @classmethod
    def open(cls, on_return: Callable[[], None]) -> Self | None:
        """Listen; None where this system does not let us."""
        try:
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        except OSError:
            return None
        try:
            netlink.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_ADDRESS | _RTMGRP_IPV6_ADDRESS))
        except OSError:
            netlink.close()
            return None
        return cls(netlink, on_return)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._netlink)
        self._netlink.close()

    def _readable(self) -> None:
        try:
            data = self._netlink.recv(_READ_BYTES)
        except OSError:
            # Messages were lost (ENOBUFS): one of them may have been a return.
            self._on_return()
            return
        if self.has_returned(data):
            self._on_return()

    def has_returned(self, data: bytes) -> bool:
        """Whether one of these netlink messages says so."""
        has = False
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size or offset + length > len(data):
                break
            if kind == _RTM_NEWADDR:
                has = True
            elif kind == _RTM_NEWLINK and length >= _HEADER.size + _INTERFACE.size:
                _, _, index, flags, _ = _INTERFACE.unpack_from(data, offset + _HEADER.size)
                is_running = bool(flags & _IFF_RUNNING)
                has |= is_running and self._is_running.get(index) is False
                self._is_running[index] = is_running
            offset += (length + 3) & ~3
        return has

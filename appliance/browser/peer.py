"""Whose the other end of a local TCP connection is: a listener of 127.0.0.1 alone would serve every user of the box."""

import socket
import struct
from pathlib import Path
from typing import Final

# linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")
_ENDS: Final = struct.Struct("!HH4s12x4s12x")
_ANY: Final = struct.Struct("=III")
# Of inet_diag_msg: state and counters, both ends, expires, two queues; then the user.
_UID: Final = struct.Struct("=I")
_UID_AT: Final = _HEADER.size + 4 + _ENDS.size + _ANY.size + 3 * 4
_NO_COOKIE: Final = 0xFFFFFFFF
_ALL_STATES: Final = 0xFFFFFFFF
_TABLE: Final = Path("/proc/net/tcp")


def uid_of_peer(own: tuple[str, int], peer: tuple[str, int]) -> int | None:
    """The user whose socket is at `peer` in an IPv4 connection of this machine; None where there is none (any more)."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            return _asked(kernel, own, peer)
    except OSError:
        # A kernel without sock_diag, or a process that may not use netlink: 500 times slower, and always there.
        return _listed(own, peer)


def _asked(kernel: socket.socket, own: tuple[str, int], peer: tuple[str, int]) -> int | None:
    body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
    body += _ENDS.pack(peer[1], own[1], socket.inet_aton(peer[0]), socket.inet_aton(own[0]))
    body += _ANY.pack(0, _NO_COOKIE, _NO_COOKIE)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
    answer = kernel.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    uid: int | None = _UID.unpack_from(answer, _UID_AT)[0] if kind == _SOCK_DIAG_BY_FAMILY else None
    if uid is None and struct.unpack_from("=i", answer, _HEADER.size)[0] != -2:  # ENOENT
        raise OSError("sock_diag does not answer")
    return uid


def _listed(own: tuple[str, int], peer: tuple[str, int]) -> int | None:
    """The same from the kernel's table as text (proc(5))."""
    wanted = [_written(peer), _written(own)]
    for line in _TABLE.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == wanted:
            return int(fields[7])
    return None


def _written(end: tuple[str, int]) -> str:
    (address,) = struct.unpack("=I", socket.inet_aton(end[0]))
    return f"{address:08X}:{end[1]:04X}"

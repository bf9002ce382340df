"""A link that can be cut: a TCP port that hands connections on, or refuses them and counts."""

import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import Final

_PIECE: Final = 65536
# Closing then resets the connection, as a router does that has no way on.
_RESET: Final = struct.pack("ii", 1, 0)


class Gate:
    """Stands before `target` (HOST:PORT). Open at first; `close` ends it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._is_open = True
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.refused = 0
        """How many connections were refused."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cut(self) -> None:
        """Drop what is connected, and refuse what comes."""
        with self._lock:
            self._is_open = False
            for pair in self._pairs:
                for one in pair:
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Hand on what comes."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """End it."""
        self.cut()
        # Wakes the thread that accepts.
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                if not self._is_open:
                    self.refused += 1
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    near.close()
                    continue
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.add((near, far))
            threading.Thread(target=self._hand_on, args=(near, far), daemon=True).start()

    def _hand_on(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    source = near if key.data is far else far
                    data = source.recv(_PIECE)
                    if not data:
                        return
                    key.data.sendall(data)
        with self._lock:
            self._pairs.discard((near, far))

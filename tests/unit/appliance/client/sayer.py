"""A daemon that gives fixed answers and goes."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.client.box import SOCKET


@contextmanager
def answering(folder: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """Gives these answers, one a connection, each when it has read the whole request; what it was asked."""
    asked: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / SOCKET))
    server.listen()

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                asked.append(_request(connection))
                connection.sendall(answer)
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield asked
    thread.join()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: ([0-9]+)", head.lower())
        if end and len(body) >= (int(found[1]) if found else 0):
            return data
        data += connection.recv(65536)


def reply(status: int, body: bytes) -> bytes:
    """An answer."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body

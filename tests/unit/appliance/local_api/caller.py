"""A client of the local API, as plain as can be: a socket, requests as text, answers as they are."""

import asyncio
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.appliance.engines import LIMIT_S


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


def request(path: Path, data: bytes) -> Answer:
    """Send a request that closes its connection; the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT_S)
        client.connect(str(path / "box.sock"))
        client.sendall(data)
        answer = b""
        while part := client.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _whole(body)
    return Answer(int(first.split()[1]), headers, body)


def _whole(chunks: bytes) -> bytes:
    data = b""
    while (size := int(chunks.partition(b"\r\n")[0] or b"0", 16)) > 0:
        chunks = chunks.partition(b"\r\n")[2]
        data, chunks = data + chunks[:size], chunks[size + 2 :]
    return data


def get(path: Path, target: str, method: str = "GET") -> tuple[int, Any]:
    """Status and body of a plain request."""
    answer = request(path, f"{method} {target} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n".encode())
    return answer.status, answer.json if answer.body.startswith(b"{") else answer.body


class Call:
    """Calls the API of a folder beside the test's loop."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __call__(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """The answer; `body` is JSON unless it is bytes, `headers` with _ for -."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: box", "Connection: close", f"Content-Length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return await asyncio.to_thread(request, self.path, head + data)

    async def raw(self, method: str, target: str) -> bytes:
        """The body of the answer."""
        return (await self(method, target)).body


def events(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream that has ended."""
    return [(name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", body.decode())]

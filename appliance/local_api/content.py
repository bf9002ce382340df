"""Bytes as a response: a file or what is in memory, whole or the part that was asked for, never read at once."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from appliance import spool
from appliance.local_api.request import wanted_range

PIECE_BYTES: Final = 64 * 1024
BYTES: Final = "application/octet-stream"


def of_file(
    request: Request, path: str | os.PathLike[str], media_type: str = BYTES, headers: Mapping[str, str] | None = None
) -> Response:
    """What a file holds now; nothing where there is none. `Refusal` (416) for a range outside."""
    path = os.fspath(path)
    size = spool.size_bytes(path)
    part = wanted_range(request, size)
    return _respond(_pieces(path, *(part or (0, size))), size, part, media_type, headers or {})


def of_bytes(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """These bytes. `Refusal` (416) for a range outside."""
    part = wanted_range(request, len(data))
    return _respond([data[slice(*part)] if part else data], len(data), part, BYTES, headers)


def exists(path: Path) -> bool:
    """Whether the file is there."""
    return path.is_file()


def _pieces(path: str, start: int, stop: int) -> Iterable[bytes]:
    while start < stop and (data := spool.read_piece(path, start, min(PIECE_BYTES, stop - start))):
        yield data
        start += len(data)


def _respond(
    data: Iterable[bytes], size: int, part: tuple[int, int] | None, media_type: str, headers: Mapping[str, str]
) -> Response:
    start, stop = part or (0, size)
    more = {"accept-ranges": "bytes", "content-length": str(stop - start), **headers}
    if part is not None:
        more["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return StreamingResponse(_one_by_one(data), 200 if part is None else 206, more, media_type)


async def _one_by_one(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece

"""What a step read, made fit to be kept: only what JSON holds, and no more than there is room for."""

import json
import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any, Final

VALUE_LIMIT_BYTES: Final = 64 * 1024
_DEPTH_LIMIT: Final = 50
# A page can hand over a small object that holds itself so often that, written out, it has no end.
_PARTS_LIMIT: Final = 50_000
# What saying how much was left out takes at most.
NOTE_BYTES: Final = 100
_TOO_MANY: Final = "[… too many …]"
_INT_BITS: Final = 64


def as_json(value: Any) -> Any:
    """The value as JSON can hold it: a number that is none is null, a time is its ISO text, too deep or many is cut."""
    return _as_json(value, 0, [_PARTS_LIMIT])


def _as_json(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    match value:
        case None | bool():
            return value
        case str():
            return sound(value)
        case int():
            # Longer ones are read by few, and written by Python only up to a limit.
            return value if value.bit_length() <= _INT_BITS else f"{value:#x}"
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date():
            return value.isoformat()
        case list() | tuple() if depth < _DEPTH_LIMIT:
            return list(_listed(value, depth, left))
        case dict() if depth < _DEPTH_LIMIT:
            names = (sound(str(key)) for key in value)
            return dict(zip(names, _listed(value.values(), depth, left), strict=False))
        case list() | tuple() | dict():
            return "[… too deep …]"
        case _:
            return sound(str(value))


def _listed(parts: Iterable[Any], depth: int, left: list[int]) -> Iterator[Any]:
    for part in parts:
        if left[0] <= 0:
            yield _TOO_MANY
            return
        yield _as_json(part, depth + 1, left)


def sound(text: str) -> str:
    """The text with U+FFFD for what is no character: a page's text may hold half of a surrogate pair."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def size_of(value: Any) -> int:
    """Bytes of the value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def cut(value: Any, limit_bytes: int = VALUE_LIMIT_BYTES) -> Any:
    """The value with at most about so many bytes as JSON; what was left out is said where it stood."""
    return value if size_of(value) <= limit_bytes else _trimmed(value, limit_bytes)[0]


def _trimmed(value: Any, room: int) -> tuple[Any, int]:
    """As much of the value as there is room for, and its size; each part is looked at once, however deep it lies."""
    match value:
        case list():
            return _trimmed_list(value, room)
        case dict():
            return _trimmed_dict(value, room)
        case str():
            size = size_of(value)
            kept = value if size <= room else cut_text(value, room)
            return kept, size if kept is value else size_of(kept)
        case _:
            return value, size_of(value)


def _trimmed_list(items: list[Any], room: int) -> tuple[list[Any], int]:
    kept: list[Any] = []
    used = 2
    for number, item in enumerate(items):
        left = room - used - NOTE_BYTES
        if left < NOTE_BYTES:
            kept.append(f"[… {len(items) - number} of {len(items)} items left out …]")
            return kept, used + size_of(kept[-1]) + 2
        part, size = _trimmed(item, left)
        kept.append(part)
        used += size + 2
    return kept, used


def _trimmed_dict(fields: dict[str, Any], room: int) -> tuple[dict[str, Any], int]:
    kept: dict[str, Any] = {}
    used = 2
    for number, (name, inner) in enumerate(fields.items()):
        left = room - used - NOTE_BYTES - size_of(name)
        if left < NOTE_BYTES:
            kept["…"] = f"[… {len(fields) - number} of {len(fields)} fields left out …]"
            return kept, used + size_of(kept["…"]) + 12
        part, size = _trimmed(inner, left)
        kept[name] = part
        used += size_of(name) + size + 4
    return kept, used


def cut_text(text: str, limit_bytes: int) -> str:
    """The text's beginning, with what was left out said on a line of its own."""
    room = max(limit_bytes - NOTE_BYTES, 0)
    head = text[:room]
    # Most text takes one byte a character; else its beginning is shortened until it fits.
    while head and (size := size_of(head) - 2) > room:
        head = head[: len(head) * room // size - 1]
    return f"{head}\n[… {len(text) - len(head)} of {len(text)} characters left out …]"

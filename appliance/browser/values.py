"""What a step read, made fit to be kept: only what JSON holds, and no more than there is room for."""

import json
import math
from datetime import date, datetime
from typing import Any, Final

VALUE_LIMIT_BYTES: Final = 64 * 1024
_DEPTH_LIMIT: Final = 50
_INT_BITS: Final = 64


def as_json(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it: a number that is none is null, a time its ISO text, what is too deep is cut."""
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
            return [as_json(inner, depth + 1) for inner in value]
        case dict() if depth < _DEPTH_LIMIT:
            return {sound(str(key)): as_json(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple() | dict():
            return "[… too deep …]"
        case _:
            return sound(str(value))


def sound(text: str) -> str:
    """The text with U+FFFD for what is no character: a page's text may hold half of a surrogate pair."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def size_of(value: Any) -> int:
    """Bytes of the value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def cut(value: Any, limit_bytes: int = VALUE_LIMIT_BYTES) -> Any:
    """The value with at most about so many bytes as JSON; what was left out is said where it stood."""
    size = size_of(value)
    if size <= limit_bytes:
        return value
    match value:
        case str():
            return cut_text(value, limit_bytes)
        case list():
            kept, left = _fit([(None, inner) for inner in value], limit_bytes)
            return [*(inner for _, inner in kept), f"[… {left} of {len(value)} items left out …]"]
        case dict():
            kept, left = _fit(list(value.items()), limit_bytes)
            return {**dict(kept), "…": f"[… {left} of {len(value)} fields left out …]"} if left else dict(kept)
        case _:
            return f"[… {size} bytes left out …]"


def _fit(pairs: list[tuple[Any, Any]], limit_bytes: int) -> tuple[list[tuple[Any, Any]], int]:
    """The first pairs that fit, the last of them perhaps cut, and how many do not."""
    room = limit_bytes - 100
    kept: list[tuple[Any, Any]] = []
    for number, (key, inner) in enumerate(pairs):
        needed = size_of(inner) + (0 if key is None else size_of(key)) + 2
        if needed > room:
            if room > 1000 and isinstance(inner, str | list | dict):
                kept.append((key, cut(inner, room)))
                return kept, len(pairs) - number - 1
            return kept, len(pairs) - number
        kept.append((key, inner))
        room -= needed
    return kept, 0


def cut_text(text: str, limit_bytes: int) -> str:
    """The text's beginning, with what was left out said on a line of its own."""
    room = max(limit_bytes - 100, 0)
    head = text[:room]
    # Most text takes one byte a character; else its beginning is shortened until it fits.
    while head and (size := size_of(head) - 2) > room:
        head = head[: len(head) * room // size - 1]
    return f"{head}\n[… {len(text) - len(head)} of {len(text)} characters left out …]"

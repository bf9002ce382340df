"""Byte ranges of a request (RFC 9110, section 14), one at a time."""

import re
from typing import Final

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


def wanted(header: str | None, size: int) -> range | None:
    """The offsets that a Range header wants of so many bytes; none where it lies outside. What is no range: None."""
    match = _RANGE.match(header) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if first:
        return range(int(first), min(int(last) + 1 if last else size, size))
    return range(max(0, size - int(last)), size)

"""Ids: 28 hex digits that sort by the time they were made."""


def ordered_id(now_ms: int, entropy: bytes) -> str:
    """An id from milliseconds since 1970 and 8 random bytes: 12 digits of time, 16 of chance."""
    return f"{now_ms:012x}{entropy[:8].hex()}"

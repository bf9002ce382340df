"""Times for people: how long, and how long ago."""

from datetime import UTC, datetime


def parse(text: str | None) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None where there is none or it is not one."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def span(seconds: float) -> str:
    """A length of time in one unit, or two from an hour on: 250 ms, 1.5 s, 12 s, 3 min, 2 h 5 min, 3 d 4 h."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return coarse(round(seconds))


def coarse(seconds: float) -> str:
    """As `span`, in whole seconds at the finest."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def age(text: str | None, now: float) -> str:
    """How long ago a time was: `3 min ago`; `just now` within a second or where it lies ahead; `never` without one."""
    moment = parse(text)
    if moment is None:
        return "never"
    return "just now" if now - moment < 1 else f"{coarse(now - moment)} ago"


def between(earlier: str | None, later: str | None) -> float | None:
    """Seconds from one time to another, None where one is missing."""
    first, second = parse(earlier), parse(later)
    return None if first is None or second is None else second - first


def clock(text: str | None, *, date: bool = True) -> str:
    """A time as UTC with milliseconds, `-` without one."""
    moment = parse(text)
    if moment is None:
        return "-"
    shape = "%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S"
    whole = datetime.fromtimestamp(moment, UTC)
    return f"{whole:{shape}}.{whole.microsecond // 1000:03d}Z"


def minute(text: str | None) -> str:
    """A time as UTC to the minute, empty without one."""
    moment = parse(text)
    return "" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%MZ}"

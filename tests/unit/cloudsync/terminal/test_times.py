"""Times for people."""

import pytest

from cloudsync.terminal import times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.2504, "250 ms"),
        (0.9996, "1.0 s"),
        (1.54, "1.5 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (273600, "3 d 4 h"),
        (-5, "0 ms"),
    ],
)
def test_length_of_time_is_one_or_two_units(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


def test_age_says_how_long_ago_and_never_lies_ahead() -> None:
    now = times.parse("2026-01-02T03:04:05.000Z")
    assert now is not None
    assert times.age("2026-01-02T03:01:05.000Z", now) == "3 min ago"
    assert times.age("2026-01-02T03:04:05.900Z", now) == "just now"
    assert times.age("2026-01-02T03:09:05.000Z", now) == "just now"
    assert times.age(None, now) == "never"


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert times.parse(text) is None
    assert times.between(text, "2026-01-02T03:04:05.000Z") is None
    assert times.clock(text) == "-"


def test_clock_is_utc_with_milliseconds() -> None:
    assert times.clock("2026-01-02T03:04:05.678Z") == "2026-01-02 03:04:05.678Z"
    assert times.clock("2026-01-02T04:04:05.678+01:00", date=False) == "03:04:05.678Z"
    assert times.between("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:06.500Z") == 1.5

"""When a box tries again."""

import pytest
from hypothesis import given, strategies as st

from cloudsync.backoff import CAP_S, FIRST_S, STABLE_S, Backoff

# The largest number that a caller can draw.
LAST = 1 - 2**-53


def ceilings(backoff: Backoff, count: int) -> list[float]:
    """What each next delay can be at most, to the microsecond."""
    return [round(backoff.delay_s(LAST), 6) for _ in range(count)]


def test_the_ceiling_doubles_from_half_a_second_to_a_minute_and_stays() -> None:
    assert ceilings(Backoff(), 9) == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_delay_is_spread_over_all_below_the_ceiling() -> None:
    assert Backoff().delay_s(0.0) == 0.0
    assert Backoff().delay_s(0.5) == FIRST_S / 2


def test_a_thousand_failures_overflow_nothing() -> None:
    backoff = Backoff()
    assert max(ceilings(backoff, 2000)) == CAP_S


@given(dice=st.floats(0, LAST), failures=st.integers(0, 50), asked=st.floats(0, 3600))
def test_what_the_hub_asked_for_is_waited_and_the_jitter_comes_on_top(dice: float, failures: int, asked: float) -> None:
    backoff = Backoff()
    backoff.failures = failures
    assert asked <= backoff.delay_s(dice, retry_after_s=asked) <= asked + CAP_S


def test_a_session_that_was_stable_resets_the_delay() -> None:
    backoff = Backoff()
    ceilings(backoff, 5)
    backoff.lasted(STABLE_S)
    assert ceilings(backoff, 1) == [FIRST_S]


@pytest.mark.parametrize("session_s", [0.0, STABLE_S - 0.001])
def test_a_session_that_was_too_short_resets_nothing(session_s: float) -> None:
    backoff = Backoff()
    ceilings(backoff, 5)
    backoff.lasted(session_s)
    assert ceilings(backoff, 1) == [16]


def test_a_link_that_returned_starts_over_at_the_shortest_delay() -> None:
    backoff = Backoff()
    ceilings(backoff, 8)
    backoff.link_returned()
    assert ceilings(backoff, 2) == [0.5, 1]

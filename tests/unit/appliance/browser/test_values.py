"""Values as they are kept."""

import json
import math
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from appliance.browser.values import VALUE_LIMIT_BYTES, as_json, cut, size_of

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.datetimes() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters()), inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None)
@given(anything)
def test_anything_becomes_what_json_can_hold(value: Any) -> None:
    made = as_json(value)
    text = json.dumps(made, allow_nan=False)
    text.encode()
    assert json.loads(text) == made


@settings(deadline=None)
@given(anything, st.integers(150, 3000))
def test_what_is_cut_fits_and_what_fits_is_not_cut(value: Any, limit: int) -> None:
    made = as_json(value)
    shown = cut(made, limit)
    assert size_of(shown) <= max(limit, 250)
    if size_of(made) <= limit:
        assert shown == made


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (math.nan, None),
        (math.inf, None),
        (1.5, 1.5),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        ("a\ud800b", "a\ufffdb"),
        ("😀", "😀"),
        (2**64, "0x10000000000000000"),
        ({1: (2,)}, {"1": [2]}),
        (ValueError("x"), "x"),
    ],
)
def test_what_json_has_no_word_for(value: Any, made: Any) -> None:
    assert as_json(value) == made


def test_what_holds_the_same_part_again_and_again_is_not_written_out() -> None:
    value: Any = ["x"]
    for _ in range(40):
        value = [value, value]
    assert "[… too many …]" in str(as_json(value))
    assert size_of(as_json(list(range(10**6)))) < 2 * 10**6
    began = time.process_time()
    assert size_of(cut(as_json(value))) <= VALUE_LIMIT_BYTES
    assert time.process_time() - began < 2


def test_cut_says_what_was_left_out() -> None:
    assert cut("x" * 1000, 500) == "x" * 400 + "\n[… 600 of 1000 characters left out …]"
    assert cut([["x" * 1000]], 500)[0][0].endswith("of 1000 characters left out …]")
    numbers = cut(list(range(1000)), 500)
    assert numbers[-1] == f"[… {1000 - len(numbers) + 1} of 1000 items left out …]"
    assert numbers[:3] == [0, 1, 2]
    fields = cut({f"k{n}": n for n in range(1000)}, 500)
    assert fields["…"] == f"[… {1000 - len(fields) + 1} of 1000 fields left out …]"
    assert size_of(cut({"a": "x" * 5000, "b": 1}, 3000)) < 3000


def test_text_of_many_bytes_a_character_is_cut_quickly_to_size() -> None:
    shown = cut("ä😀" * 200_000, 64 * 1024)
    assert 63 * 1024 < size_of(shown) <= 64 * 1024
    assert size_of(cut("\x00" * 100_000, 1000)) <= 1000

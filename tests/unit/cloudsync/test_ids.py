"""Ids sort by time and are never long or short."""

from hypothesis import given, strategies as st

from cloudsync.ids import ordered_id

times = st.integers(0, 2**48 - 1)
chance = st.binary(min_size=8, max_size=16)


@given(times, chance)
def test_an_id_has_28_hex_digits(now_ms: int, entropy: bytes) -> None:
    made = ordered_id(now_ms, entropy)
    assert len(made) == 28
    assert bytes.fromhex(made)[:6] == now_ms.to_bytes(6, "big")


@given(times, times, chance, chance)
def test_ids_of_different_milliseconds_sort_by_them(first: int, second: int, one: bytes, other: bytes) -> None:
    if first < second:
        assert ordered_id(first, one) < ordered_id(second, other)


def test_ids_of_one_millisecond_differ_by_chance() -> None:
    assert ordered_id(1, bytes(8)) != ordered_id(1, bytes(7) + b"\1")

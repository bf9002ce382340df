"""Sizes for people."""

import pytest

from cloudsync.terminal.size import size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (512, "512 B"), (4300, "4.2 KiB"), (1.5 * 1024**3, "1.5 GiB"), (2000 * 1024**3, "2000 GiB")],
)
def test_a_size_is_in_the_unit_that_suits_it(size_bytes: float, text: str) -> None:
    assert size(size_bytes) == text

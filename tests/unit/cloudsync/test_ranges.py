"""Which bytes a Range header wants."""

import pytest

from cloudsync.ranges import wanted


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-3", range(4)),
        ("bytes=4-", range(4, 10)),
        ("bytes=0-", range(10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("bytes=9-999999999999", range(9, 10)),
    ],
)
def test_one_range_is_read_as_http_has_it(header: str, found: range) -> None:
    assert wanted(header, 10) == found


@pytest.mark.parametrize("header", [None, "", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=٣-"])
def test_what_is_no_range_is_none(header: str | None) -> None:
    assert wanted(header, 10) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=5-2", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_outside_is_empty(header: str, size: int) -> None:
    found = wanted(header, size)
    assert found is not None
    assert not found

"""How much of two streams fits, to the byte."""

import pytest
from hypothesis import given, settings, strategies as st

from appliance.output import SAFE_BYTES, Stream, cut, encoded_bytes, fit
from cloudsync.spec import Output

BUDGET = 8192


def ends(data: bytes, end_bytes: int = 4096) -> Stream:
    """What is read of a stream: all of a short one, two ends of a long one."""
    if len(data) <= 2 * end_bytes:
        return Stream(head=data, total_bytes=len(data))
    return Stream(data[:end_bytes], data[-end_bytes:], len(data))


def line(output: Output) -> bytes:
    return f"\n[… {output.cut_bytes} bytes left out …]\n".encode()


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([b"a", b"\0", b"\xff", b'"\\', "ö".encode(), "€".encode(), "\U0001f4a5".encode(), b"a\xc3"]),
    st.integers(0, 30_000),
    st.integers(0, 30_000),
    st.sampled_from([b"b", b"\n", b"\x80", "ß".encode()]),
)
def test_both_streams_always_fit_and_what_is_missing_is_told(one: bytes, n: int, m: int, other: bytes) -> None:
    stdout, stderr = ends(one * (n // len(one))), ends(other * (m // len(other)))
    outputs = fit(stdout, stderr, 200_000 if stdout.total_bytes + stderr.total_bytes <= SAFE_BYTES else BUDGET)
    if stdout.total_bytes + stderr.total_bytes > SAFE_BYTES:
        assert sum(map(encoded_bytes, outputs)) <= BUDGET
    for stream, output in zip((stdout, stderr), outputs, strict=True):
        assert output.total_bytes == stream.total_bytes
        data = output.data()
        if not output.cut_bytes:
            assert data == stream.head
            continue
        head, tail = data.split(line(output))
        assert len(head) + len(tail) + output.cut_bytes == output.total_bytes
        assert stream.head.startswith(head)
        assert (stream.tail or stream.head).endswith(tail)


@pytest.mark.parametrize("filler", [b"a", b"\0", b"\xff", "ö".encode(), b'"'])
def test_one_byte_decides_whether_a_stream_is_cut(filler: bytes) -> None:
    low, high = 0, BUDGET
    while low < high:  # the longest that fits whole
        middle = (low + high + 1) // 2
        whole = Output.of(filler * middle)
        low, high = (middle, high) if encoded_bytes(whole) <= BUDGET else (low, middle - 1)
    fits = cut(ends(filler * low), BUDGET)
    assert (fits.cut_bytes, encoded_bytes(fits) <= BUDGET) == (0, True)
    over = cut(ends(filler * (low + 1)), BUDGET)
    assert over.cut_bytes > 0
    assert BUDGET * 0.9 <= encoded_bytes(over) <= BUDGET


def test_what_one_stream_does_not_need_the_other_gets() -> None:
    out, error = fit(ends(b"o" * 100_000), ends(b"e" * 100), BUDGET)
    assert error.text == "e" * 100
    assert encoded_bytes(out) > BUDGET - 600
    out, error = fit(ends(b"o" * 100), ends(b"e" * 100_000), BUDGET)
    assert out.text == "o" * 100
    assert encoded_bytes(error) > BUDGET - 600


def test_two_long_streams_share_alike() -> None:
    out, error = fit(ends(b"o" * 100_000), ends(b"e" * 100_000), BUDGET)
    assert abs(encoded_bytes(out) - encoded_bytes(error)) < 400
    assert out.text.startswith("ooo")
    assert out.text.endswith("ooo")


def test_characters_are_not_halved_by_the_cut() -> None:
    output = cut(ends(("€ö" * 10_000).encode()), BUDGET)
    assert output.data_b64 is None
    assert "\ufffd" not in output.text

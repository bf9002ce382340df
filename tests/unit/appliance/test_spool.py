"""Reading spool files, and giving the middle of a long one back to the disk."""

import os
from pathlib import Path

from appliance import spool
from appliance.spool import END_BYTES, SpoolGuard

MIB = 1024 * 1024


def test_a_short_file_is_read_whole_and_a_long_one_at_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    assert spool.read_ends(str(path)).total_bytes == 0
    path.write_bytes(b"short")
    found = spool.read_ends(str(path))
    assert (found.head, found.tail, found.total_bytes, found.is_whole) == (b"short", b"", 5, True)
    data = os.urandom(2 * END_BYTES + 1)
    path.write_bytes(data)
    found = spool.read_ends(str(path))
    assert (found.head, found.tail) == (data[:END_BYTES], data[-END_BYTES:])
    assert (found.total_bytes, found.is_whole) == (len(data), False)


def test_pieces_are_read_from_an_offset_and_end_where_the_file_does(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    assert spool.read_piece(str(path), 0, 10) == b""
    assert spool.size_bytes(str(path)) == 0
    path.write_bytes(b"0123456789")
    assert spool.read_piece(str(path), 3, 4) == b"3456"
    assert spool.read_piece(str(path), 8, 4) == b"89"
    assert spool.read_piece(str(path), 10, 4) == b""
    assert spool.size_bytes(str(path)) == 10


def test_the_middle_of_a_file_over_its_limit_goes_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    guard = SpoolGuard(str(path), 2 * MIB)
    assert not guard.check()
    total = 0
    with path.open("ab") as file:
        for number in range(12):
            file.write(bytes([number + 1]) * MIB)
            file.flush()
            total += MIB
            guard.check()
            assert path.stat().st_blocks * 512 <= 3 * MIB + 2 * 4096
    assert path.stat().st_size == total
    assert guard.punched_to > 0
    data = path.read_bytes()
    assert data[:MIB] == b"\1" * MIB
    assert data[-MIB:] == b"\x0c" * MIB
    assert data[MIB : guard.punched_to] == bytes(guard.punched_to - MIB)


def test_a_file_at_its_limit_is_left_whole(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    path.write_bytes(b"x" * 2 * MIB)
    assert not SpoolGuard(str(path), 2 * MIB).check()
    assert path.read_bytes() == b"x" * 2 * MIB


def test_used_bytes_counts_blocks_not_lengths(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 100 * MIB)
    assert spool.used_bytes(tmp_path) < MIB

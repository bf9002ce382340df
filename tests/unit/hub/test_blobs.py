"""The files of artifacts: whole and verified at their place, or not there."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.artifacts import Content
from hub.blobs import STALE_S, Blobs
from hub.errors import Refusal

MIB = 1024 * 1024


def content(data: bytes, customer: str = "acme") -> Content:
    """The content that these bytes are."""
    return Content(customer, hashlib.sha256(data).hexdigest(), len(data))


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    """A store of 4 MiB."""
    (tmp_path / "blobs").mkdir()
    opened = Blobs(tmp_path / "blobs", 4 * MIB, 0)
    yield opened
    opened.close()


async def put(blobs: Blobs, data: bytes, box: str = "box-1") -> Content:
    """Take all of it in."""
    kept = content(data)
    assert await blobs.append(kept, box, 0, data)
    assert await blobs.complete(kept, box)
    return kept


async def read(blobs: Blobs, kept: Content, start: int = 0, stop: int | None = None) -> bytes:
    """What lies at its place."""
    return b"".join([data async for data in await blobs.read(kept, start, kept.size_bytes if stop is None else stop)])


async def test_pieces_make_a_whole_that_is_read_back_in_any_part(blobs: Blobs, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    kept = content(data)
    for start in range(0, len(data), 100_000):
        assert blobs.offset(kept, "box-1") == start
        assert not blobs.place(kept).exists()
        assert await blobs.append(kept, "box-1", start, data[start : start + 100_000])
    assert await blobs.complete(kept, "box-1")
    assert blobs.offset(kept, "box-1") == len(data)
    assert await read(blobs, kept) == data
    assert await read(blobs, kept, 262_143, 262_146) == data[262_143:262_146]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [blobs.place(kept)]
    assert blobs.place(kept).stat().st_mode & 0o777 == 0o600


async def test_a_piece_that_does_not_follow_on_what_is_here_changes_nothing(blobs: Blobs) -> None:
    data = b"0123456789"
    kept = content(data)
    assert not await blobs.append(kept, "box-1", 3, b"345")
    assert await blobs.append(kept, "box-1", 0, b"0123")
    for offset in (0, 3, 5):
        assert not await blobs.append(kept, "box-1", offset, b"xxx")
    assert await blobs.append(kept, "box-1", 4, b"456789")
    assert await blobs.complete(kept, "box-1")
    assert await read(blobs, kept) == data


async def test_of_two_that_write_the_same_place_one_is_turned_away(blobs: Blobs) -> None:
    data = os.urandom(200_000)
    kept = content(data)
    answers = await asyncio.gather(*(blobs.append(kept, "box-1", 0, data) for _ in range(6)))
    assert sorted(answers) == [False] * 5 + [True]
    assert await blobs.complete(kept, "box-1")


async def test_what_has_another_hash_is_gone_and_can_come_again(blobs: Blobs) -> None:
    kept = content(b"right")
    assert await blobs.append(kept, "box-1", 0, b"wrong")
    assert not await blobs.complete(kept, "box-1")
    assert blobs.offset(kept, "box-1") == 0
    assert not blobs.place(kept).exists()
    await put(blobs, b"right")


async def test_boxes_that_send_the_same_do_not_meet_before_it_is_whole(blobs: Blobs) -> None:
    kept = content(b"right")
    await blobs.append(kept, "evil", 0, b"wro")
    assert blobs.offset(kept, "good") == 0
    await put(blobs, b"right", "good")
    assert blobs.offset(kept, "evil") == 5
    assert await blobs.complete(kept, "evil")
    assert await read(blobs, kept) == b"right"


async def test_customers_do_not_share_what_is_the_same(blobs: Blobs) -> None:
    await put(blobs, b"same")
    theirs = content(b"same", "other")
    assert blobs.offset(theirs, "box-1") == 0
    assert blobs.place(theirs) != blobs.place(content(b"same"))


async def test_an_empty_file_is_a_file(blobs: Blobs) -> None:
    kept = await put(blobs, b"")
    assert blobs.place(kept).read_bytes() == b""
    assert await read(blobs, kept) == b""


async def test_there_is_room_up_to_the_limit_the_quota_and_the_disks_floor(blobs: Blobs, tmp_path: Path) -> None:
    kept = content(bytes(MIB))
    blobs.check_room(kept, 0, None)
    blobs.count("acme", MIB)
    blobs.check_room(kept, 0, 2 * MIB)
    with pytest.raises(Refusal) as caught:
        blobs.check_room(kept, 0, 2 * MIB - 1)
    assert (caught.value.status, caught.value.code) == (507, "quota")
    blobs.count("other", 2 * MIB + 1)
    with pytest.raises(Refusal) as caught:
        blobs.check_room(kept, 0, None)
    assert (caught.value.status, caught.value.code) == (507, "no_room")
    assert caught.value.hint
    blobs.count("other", -1)
    blobs.check_room(kept, 0, None)
    tight = Blobs(tmp_path, 4 * MIB, floor_bytes=1 << 60)
    with pytest.raises(Refusal) as caught:
        tight.check_room(kept, MIB, None)
    assert (caught.value.status, caught.value.code) == (507, "disk_full")
    tight.close()


async def test_a_sweep_takes_what_is_old_and_unknown_and_leaves_the_rest(blobs: Blobs) -> None:
    known, unknown, young = [await put(blobs, data) for data in (b"known", b"unknown", b"young")]
    going, left = content(b"going on"), content(b"left")
    await blobs.append(going, "box-1", 0, b"go")
    await blobs.append(left, "box-1", 0, b"le")
    old = time.time() - STALE_S - 10
    for path in (blobs.place(known), blobs.place(unknown), blobs.draft(left, "box-1")):
        os.utime(path, (old, old))
    assert await blobs.sweep(lambda customer, sha256: (customer, sha256) == ("acme", known.sha256)) == 2
    assert [blobs.place(one).exists() for one in (known, unknown, young)] == [True, False, True]
    assert (blobs.offset(going, "box-1"), blobs.offset(left, "box-1")) == (2, 0)


async def test_an_old_file_that_is_wanted_again_is_not_swept(blobs: Blobs) -> None:
    kept = await put(blobs, b"again")
    old = time.time() - STALE_S - 10
    os.utime(blobs.place(kept), (old, old))
    assert await blobs.complete(kept, "box-2")
    assert await blobs.sweep(lambda *_: False) == 0

"""Live output: offsets, holes, late and slow watchers."""

import asyncio
import base64
from typing import Any

from cloudsync.messages import OutputChunk, OutputGap, StepReport
from cloudsync.pieces import Piece
from cloudsync.spec import Outcome, Output
from hub.live import KEEP_BYTES, WATCHER_BYTES, Live, Watcher


def chunk(offset: int, data: bytes, task: str = "t", stream: Any = "stdout") -> OutputChunk:
    return OutputChunk(task_id=task, stream=stream, offset=offset, data_b64=base64.b64encode(data).decode())


class Asked:
    """Counts what the box is asked."""

    def __init__(self) -> None:
        self.follows = 0
        self.unfollows = 0

    def follow(self) -> None:
        self.follows += 1

    def unfollow(self) -> None:
        self.unfollows += 1


def watch(live: Live, task: str = "t", box: str = "b", asked: Asked | None = None) -> Any:
    asked = asked or Asked()
    return live.watch(task, box, asked.follow, asked.unfollow)


async def pieces(watcher: Watcher, count: int) -> list[tuple[int, int, bytes | None]]:
    """The next `count` pieces as (from, to, data)."""
    found: list[Piece] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [piece for piece in await watcher.next() if isinstance(piece, Piece)]
    return [(piece.offset, piece.to, piece.data) for piece in found]


async def test_pieces_come_in_order_and_overlaps_are_cut() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.chunk("b", chunk(0, b"abc"))
        live.chunk("b", chunk(1, b"bcde"))
        live.chunk("b", chunk(0, b"ab"))
        live.chunk("b", chunk(5, b"f"))
        assert await pieces(watcher, 3) == [(0, 3, b"abc"), (3, 5, b"de"), (5, 6, b"f")]


async def test_hole_is_announced() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.chunk("b", chunk(0, b"abc"))
        live.chunk("b", chunk(10, b"k"))
        live.gap("b", OutputGap(task_id="t", stream="stdout", from_offset=11, to_offset=20))
        live.chunk("b", chunk(20, b"u"))
        expected = [(0, 3, b"abc"), (3, 10, None), (10, 11, b"k"), (11, 20, None), (20, 21, b"u")]
        assert await pieces(watcher, 5) == expected


async def test_output_of_another_boxs_task_is_dropped() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.chunk("other", chunk(0, b"forged"))
        live.gap("other", OutputGap(task_id="t", stream="stdout", from_offset=0, to_offset=9))
        live.chunk("b", chunk(0, b"true"))
        assert await pieces(watcher, 1) == [(0, 4, b"true")]


async def test_box_is_asked_once_for_all_who_watch() -> None:
    live, asked = Live(), Asked()
    async with watch(live, asked=asked), watch(live, asked=asked):
        assert (asked.follows, asked.unfollows) == (1, 0)
        assert live.watched_of("b") == ["t"]
    assert (asked.follows, asked.unfollows) == (1, 1)
    assert not live.watched("t")
    assert live.offsets("t") == {"stdout": 0, "stderr": 0}


async def test_late_watcher_gets_what_is_kept() -> None:
    live = Live()
    async with watch(live):
        live.chunk("b", chunk(0, b"abc"))
        async with watch(live) as late:
            live.chunk("b", chunk(3, b"def"))
            assert await pieces(late, 2) == [(0, 3, b"abc"), (3, 6, b"def")]


async def test_late_watcher_of_much_output_is_told_of_the_hole() -> None:
    live = Live()
    async with watch(live):
        for number in range(5):
            live.chunk("b", chunk(number * 600_000, bytes([number]) * 600_000))
        assert live.offsets("t")["stdout"] == 3_000_000
        async with watch(live) as late:
            (start, end, nothing), (data_from, data_to, data) = await pieces(late, 2)
            assert (start, nothing, data_to) == (0, None, 3_000_000)
            assert end == data_from
            assert data is not None
            assert KEEP_BYTES <= len(data) <= 2 * KEEP_BYTES
            assert data[-1] == 4


async def test_copy_starts_again_where_the_box_does() -> None:
    live = Live()
    async with watch(live):
        live.chunk("b", chunk(0, b"abc"))
        live.chunk("b", chunk(100, b"xyz"))
        assert live.offsets("t")["stdout"] == 103
        async with watch(live) as late:
            assert await pieces(late, 2) == [(0, 100, None), (100, 103, b"xyz")]


async def test_slow_watcher_costs_no_more_than_its_share_and_sees_the_hole() -> None:
    live = Live()
    async with watch(live) as slow:
        total = 0
        for number in range(40):
            live.chunk("b", chunk(total, bytes([number]) * 500_000))
            total += 500_000
        live.end("t")
        found = []
        while got := await slow.next():
            found += got
        assert sum(len(piece.data or b"") for piece in found) <= WATCHER_BYTES
        rest = slow.rest(Outcome(stdout=Output(text="", total_bytes=total, cut_bytes=total)))
        assert [(piece.data, piece.to) for piece in rest] == [(None, total)]
        assert rest[0].offset == found[-1].to


async def test_many_small_pieces_do_not_pile_up_either() -> None:
    live = Live()
    async with watch(live) as slow:
        for number in range(20_000):
            live.chunk("b", chunk(number, b"x"))
        live.end("t")
        count = 0
        while got := await slow.next():
            count += len(got)
        assert count < 5000


async def test_end_wakes_one_who_waits() -> None:
    live = Live()
    async with watch(live) as watcher:
        waiting = asyncio.create_task(watcher.next())
        await asyncio.sleep(0)
        live.end("t")
        async with asyncio.timeout(5):
            assert await waiting == []


async def test_watcher_of_a_task_that_is_tried_again_sees_one_attempt_and_a_gap_for_the_other() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.attempted("t", 1)
        live.chunk("b", chunk(0, b"first"))
        assert await pieces(watcher, 1) == [(0, 5, b"first")]
        live.chunk("b", chunk(5, b"queued"))
        live.attempted("t", 2)
        assert live.offsets("t") == {"stdout": 0, "stderr": 0}
        live.chunk("b", chunk(0, b"second try"))
        live.chunk("b", chunk(0, b"err", stream="stderr"))
        assert await pieces(watcher, 1) == [(0, 3, b"err")]
        async with watch(live) as late:
            assert sorted(await pieces(late, 2)) == [(0, 3, b"err"), (0, 10, b"second try")]
        live.attempted("t", 2)
        live.end("t")
        assert await watcher.next() == []
        rest = watcher.rest(Outcome(stdout=Output.of(b"second try"), stderr=Output.of(b"error")))
        assert rest == [Piece("stdout", 0, 10, None), Piece("stderr", 3, 5, b"or")]


async def test_piece_that_is_not_base64_is_dropped() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.chunk("b", OutputChunk(task_id="t", stream="stdout", offset=0, data_b64="*"))
        live.chunk("b", chunk(0, b"ok"))
        assert await pieces(watcher, 1) == [(0, 2, b"ok")]


def step(index: int, task: str = "t") -> StepReport:
    return StepReport(task_id=task, index=index, total=3, action="goto", state="succeeded", duration_ms=240)


async def reports(watcher: Watcher, count: int) -> list[int]:
    """The next `count` steps."""
    found: list[int] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [one.index for one in await watcher.next() if isinstance(one, StepReport)]
    return found


async def test_step_is_told_once_and_to_the_late_too() -> None:
    live = Live()
    async with watch(live) as watcher:
        for index in (1, 2, 1, 2):
            live.step("b", step(index))
        live.step("other", step(3))
        live.step("b", step(3, task="another"))
        async with watch(live) as late:
            live.step("b", step(3))
            assert await reports(late, 3) == [1, 2, 3]
        assert await reports(watcher, 3) == [1, 2, 3]
    async with watch(live) as anew:
        live.step("b", step(2))
        assert await reports(anew, 1) == [2]


async def test_steps_of_a_new_attempt_are_told_again() -> None:
    live = Live()
    async with watch(live) as watcher:
        live.step("b", step(1))
        assert await reports(watcher, 1) == [1]
        live.attempted("t", 2)
        live.step("b", step(1))
        assert await reports(watcher, 1) == [1]


async def test_step_that_no_task_can_have_is_dropped() -> None:
    live = Live()
    async with watch(live) as watcher:
        for index in (0, 501, 2**62, 1):
            live.step("b", step(index))
        assert await reports(watcher, 1) == [1]

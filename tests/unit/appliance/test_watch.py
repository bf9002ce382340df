"""Deadlines and followers of running tasks."""

import asyncio
import base64
from pathlib import Path

from appliance.live import LiveTask, boot_s, now_ms
from appliance.watch import HUB, Watch
from cloudsync.messages import OutputChunk, OutputGap, StepReport
from cloudsync.spec import encode_spec
from cloudsync.task import Origin
from tests.unit.appliance.engines import LIMIT_S, bash, until

MIB = 1024 * 1024

Live = OutputChunk | OutputGap | StepReport


def running(folder: Path, timeout_s: float = 60.0) -> LiveTask:
    spec = bash("sleep", timeout_s=timeout_s)
    task = LiveTask("t", spec, encode_spec(spec), Origin.HUB, "", 0, now_ms(), folder=folder)
    task.started_boot_s = boot_s()
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    return task


class Viewer:
    """Takes what is offered, while there is room."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.data = b""
        self.gaps: list[tuple[int, int]] = []
        self.steps: list[int] = []

    def offer(self, message: Live) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        if isinstance(message, OutputGap):
            self.gaps.append((message.from_offset, message.to_offset))
        elif isinstance(message, StepReport):
            self.steps.append(message.index)
        elif message.stream == "stdout":
            assert self.gaps or message.offset == len(self.data)
            self.data += base64.b64decode(message.data_b64)
        return True


async def test_a_deadline_is_told_when_it_is_there_and_not_before(tmp_path: Path) -> None:
    told: asyncio.Queue[float] = asyncio.Queue()
    watch = Watch(MIB, lambda _: told.put_nowait(boot_s()))
    task = running(tmp_path, timeout_s=0.35)
    watch.add(task)
    at = await asyncio.wait_for(told.get(), LIMIT_S)
    assert task.deadline_boot_s is not None
    assert 0 <= at - task.deadline_boot_s < 1
    watch.close()


async def test_a_deadline_that_has_passed_already_is_told_at_once(tmp_path: Path) -> None:
    told = asyncio.Event()
    watch = Watch(MIB, lambda _: told.set())
    task = running(tmp_path)
    task.started_boot_s = boot_s() - 1000
    watch.add(task)
    await asyncio.wait_for(told.wait(), LIMIT_S)
    watch.close()


async def test_a_removed_task_is_told_of_no_more(tmp_path: Path) -> None:
    told: list[LiveTask] = []
    watch = Watch(MIB, told.append)
    task = running(tmp_path, timeout_s=0.05)
    watch.add(task)
    watch.remove(task)
    await asyncio.sleep(0.2)  # past its deadline and two looks
    assert told == []
    watch.close()


async def test_a_follower_gets_everything_from_its_offset_and_the_rest_at_the_end(tmp_path: Path) -> None:
    watch = Watch(MIB, lambda _: None)
    task = running(tmp_path)
    watch.add(task)
    viewer = Viewer()
    (tmp_path / "stdout").write_bytes(b"0123")
    watch.follow("t", {"stdout": 2, "stderr": 0}, lambda message: viewer.offer(_shifted(message, 2)))
    assert viewer.data == b"23"
    with (tmp_path / "stdout").open("ab") as file:
        file.write(b"45")
        file.flush()
        await until("what is new", lambda: viewer.data == b"2345")
        file.write(b"6")
    watch.remove(task)
    assert viewer.data == b"23456"
    watch.close()


def _shifted(message: Live, by: int) -> Live:
    return message.model_copy(update={"offset": message.offset - by}) if isinstance(message, OutputChunk) else message


async def test_a_viewer_that_is_slow_is_told_what_it_missed(tmp_path: Path) -> None:
    watch = Watch(MIB, lambda _: None)
    task = running(tmp_path)
    watch.add(task)
    viewer = Viewer()
    viewer.room = 1
    (tmp_path / "stdout").write_bytes(b"x" * 100_000)
    watch.follow("t", {"stdout": 0, "stderr": 0}, viewer.offer)
    assert len(viewer.data) == 32 * 1024
    seen: list[Live] = []

    def last(message: Live) -> bool:
        if isinstance(message, OutputGap):
            seen.append(message)
        return isinstance(message, OutputGap)

    watch._followers["t"][HUB].offer = last
    watch.remove(task)
    assert [(gap.from_offset, gap.to_offset) for gap in seen if isinstance(gap, OutputGap)] == [(32 * 1024, 100_000)]
    watch.close()


async def test_nobody_is_served_after_the_connection_is_gone(tmp_path: Path) -> None:
    watch = Watch(MIB, lambda _: None)
    task = running(tmp_path)
    watch.add(task)
    viewer = Viewer()
    watch.follow("t", {"stdout": 0, "stderr": 0}, viewer.offer)
    watch.unfollow_all()
    (tmp_path / "stdout").write_bytes(b"late")
    watch.remove(task)
    assert viewer.data == b""
    watch.close()


async def test_a_follower_is_told_of_the_hole_in_a_long_output(tmp_path: Path) -> None:
    limit = 64 * 1024
    watch = Watch(limit, lambda _: None)
    task = running(tmp_path)
    task.started_boot_s = boot_s() - 10
    path = tmp_path / "stdout"
    path.write_bytes(b"h" * limit + b"m" * 900_000 + b"t" * limit)
    total = path.stat().st_size
    watch.add(task)
    await until("a hole", lambda: path.stat().st_blocks * 512 <= limit + 2 * 4096)
    viewer = Viewer()
    watch.follow("t", {"stdout": 0, "stderr": 0}, viewer.offer)
    ((start, end),) = viewer.gaps
    assert start == limit // 2
    assert viewer.data == b"h" * start + b"t" * (total - end)
    watch.remove(task)
    watch.close()


def step(index: int) -> StepReport:
    return StepReport(task_id="t", index=index, total=3, action="goto", state="succeeded", duration_ms=240)


async def test_two_who_watch_get_all_each_and_one_may_leave(tmp_path: Path) -> None:
    watch = Watch(MIB, lambda _: None)
    task = running(tmp_path)
    watch.add(task)
    hub, own = Viewer(), Viewer()
    watch.follow("t", {"stdout": 0, "stderr": 0}, hub.offer)
    watch.follow("t", {"stdout": 0, "stderr": 0}, own.offer, who=own)
    with (tmp_path / "stdout").open("ab") as file:
        file.write(b"01")
        file.flush()
        await until("what is new", lambda: hub.data == own.data == b"01")
        watch.unfollow_all()
        file.write(b"23")
    watch.remove(task)
    assert (hub.data, own.data) == (b"01", b"0123")
    assert watch._followers == {}
    watch.close()


async def test_steps_are_told_at_once_to_the_late_and_when_there_is_room_again(tmp_path: Path) -> None:
    watch = Watch(MIB, lambda _: None)
    task = running(tmp_path)
    watch.add(task)
    first, late = Viewer(), Viewer()
    watch.follow("t", {"stdout": 0, "stderr": 0}, first.offer)
    watch.step(step(1))
    assert first.steps == [1]
    first.room = 0
    watch.step(step(2))
    watch.follow("t", {"stdout": 0, "stderr": 0}, late.offer, who=late)
    assert (first.steps, late.steps) == ([1], [1, 2])
    first.room = 9
    await until("the step that had no room", lambda: first.steps == [1, 2])
    first.room = 0
    watch.step(step(3))
    first.room = 9
    watch.remove(task)
    assert (first.steps, late.steps) == ([1, 2, 3], [1, 2, 3])
    assert watch._steps == {}
    watch.close()

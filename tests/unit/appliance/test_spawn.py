"""The daemon's end of the spawner, against the real one."""

import asyncio
import os
import select
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from appliance.spawn import (
    Event,
    Exit,
    Exited,
    Gone,
    Program,
    Spawner,
    SpawnerError,
    SpawnFailed,
    SpawnRequest,
    Started,
    boot_id,
    kill_leftovers,
    read_exit,
    read_started,
)
from appliance.spawner import kernel, records
from tests.unit.appliance.trees import LIMIT_S, TREES, Sleepers, Tree


class Box:
    """What a daemon would hold: the events as they come, and whether the spawner was lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: list[str] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.opened: list[Spawner] = []
        # Leftovers are looked for on the whole machine, where the same test may run twice at once.
        self.task, self.other = f"t-{uuid.uuid4()}.1", f"t-{uuid.uuid4()}.1"

    async def open(self) -> Spawner:
        spawner = await Spawner.start_or_adopt(
            self.folder, on_event=self.events.put_nowait, on_lost=self.lost.set, python=sys.executable
        )
        self.opened.append(spawner)
        return spawner

    def request(self, key: str, script: str) -> SpawnRequest:
        argv = ("/bin/bash", "--norc", "-c", script)
        return SpawnRequest(key, self.folder / key, Program(argv, {"PATH": "/usr/bin:/bin"}, Path("/")))

    async def event(self) -> Event:
        while isinstance(event := await asyncio.wait_for(self.events.get(), LIMIT_S), Gone):
            self.gone.append(event.key)
        return event


def is_alive(pid: int) -> bool:
    stat = kernel.read_stat(pid)
    return stat is not None and stat.state != b"Z"


def wait_for_end(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], LIMIT_S)[0]
    finally:
        os.close(fd)


def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(tmp_path)
    yield box
    if not (tmp_path / records.SOCKET_NAME).exists():
        return
    last = await box.open()
    for key in last.running:
        last.kill(key)
    last.retire()
    await asyncio.to_thread(wait_for_end, last.pid)
    for spawner in box.opened:
        spawner.close()


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[Sleepers]:
    sleepers = Sleepers(tmp_path)
    yield sleepers
    sleepers.close()


async def test_a_task_is_started_told_and_recorded(box: Box) -> None:
    spawner = await box.open()
    spawner.spawn(box.request("t.1", "echo out; sleep 0.1; exit 3"))
    started = await box.event()
    assert isinstance(started, Started)
    exited = await box.event()
    assert isinstance(exited, Exited)
    assert (exited.key, exited.exit_code, exited.signal) == ("t.1", 3, None)
    assert spawner.running == {}
    folder = box.folder / "t.1"
    assert (folder / "stdout").read_bytes() == b"out\n"
    record = read_started(folder)
    assert record is not None
    assert (record.key, record.pid, record.start_time) == (started.key, started.pid, started.start_time)
    assert record.boot_id == spawner.boot_id == boot_id()
    found = read_exit(folder, folder.name, boot_id())
    assert found == Exit(3, None, found.ended_at if found else 0.0, exited.usage)


async def test_a_refusal_is_an_event(box: Box) -> None:
    spawner = await box.open()
    request = SpawnRequest("t.1", box.folder / "t.1", Program(("/no/such",), {}, Path("/")))
    spawner.spawn(request)
    assert await box.event() == SpawnFailed("t.1", "the program /no/such does not exist")


async def test_a_second_daemon_adopts_the_spawner_and_its_tasks(box: Box) -> None:
    os.mkfifo(box.folder / "go")
    first = await box.open()
    first.spawn(box.request("t.1", f"read -r _ < {box.folder}/go; exit 6"))
    started = await box.event()
    first.close()
    second = await box.open()
    assert second.pid == first.pid
    assert second.running == {"t.1": started}
    (box.folder / "go").write_text("go\n")
    exited = await box.event()
    assert isinstance(exited, Exited)
    assert exited.exit_code == 6
    assert not box.lost.is_set()


async def test_what_was_ordered_before_a_close_is_still_done(box: Box, sleepers: Sleepers) -> None:
    first = await box.open()
    first.spawn(box.request("t.1", f"exec {sleepers.program}"))
    first.close()
    pid = await asyncio.to_thread(sleepers.pid)
    second = await box.open()
    assert second.running["t.1"].pid == pid


async def test_terminate_and_kill_end_a_task(box: Box, sleepers: Sleepers) -> None:
    spawner = await box.open()
    spawner.spawn(box.request("t.1", "exec sleep 600"))
    spawner.terminate("t.1", 5.0)
    await box.event()
    ended = await box.event()
    assert isinstance(ended, Exited)
    assert ended.signal == signal.SIGTERM
    spawner.spawn(box.request("t.2", f"trap '' TERM; exec {sleepers.program}"))
    await box.event()
    await asyncio.to_thread(sleepers.pid)
    spawner.terminate("t.2", 600.0)
    spawner.kill("t.2")
    ended = await box.event()
    assert isinstance(ended, Exited)
    assert ended.signal == signal.SIGKILL


async def test_a_killed_spawner_is_told_once_and_another_takes_its_place(box: Box) -> None:
    first = await box.open()
    kill_and_wait(first.pid)
    await asyncio.wait_for(box.lost.wait(), LIMIT_S)
    with pytest.raises(SpawnerError, match="lost") as caught:
        first.spawn(box.request("t.1", ":"))
    assert caught.value.hint
    second = await box.open()
    assert second.pid != first.pid
    second.spawn(box.request("t.1", "exit 2"))
    await box.event()
    ended = await box.event()
    assert isinstance(ended, Exited)
    assert ended.exit_code == 2


async def test_a_retired_spawner_ends_without_being_lost(box: Box) -> None:
    spawner = await box.open()
    spawner.retire()
    await asyncio.to_thread(wait_for_end, spawner.pid)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.lost.wait(), 0.1)  # many turns of the loop after the connection ended
    assert not (box.folder / records.SOCKET_NAME).exists()


async def test_a_folder_with_a_long_path_is_served(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    box = Box(folder)
    spawner = await box.open()
    spawner.spawn(box.request("t.1", "exit 1"))
    await box.event()
    assert isinstance(await box.event(), Exited)
    spawner.retire()
    await asyncio.to_thread(wait_for_end, spawner.pid)


async def test_a_spawner_that_does_not_answer_is_named_with_what_to_do(box: Box) -> None:
    spawner = await box.open()
    spawner.close()
    os.kill(spawner.pid, signal.SIGSTOP)
    with pytest.raises(SpawnerError, match="does not answer") as caught:
        await box.open()
    assert f"process {spawner.pid}" in caught.value.hint
    os.kill(spawner.pid, signal.SIGCONT)


async def test_a_python_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpawnerError, match="/no/such/python"):
        await Spawner.start_or_adopt(tmp_path, on_event=lambda _: None, on_lost=lambda: None, python="/no/such/python")
    with pytest.raises(SpawnerError, match="it left no message"):
        await Spawner.start_or_adopt(tmp_path, on_event=lambda _: None, on_lost=lambda: None, python="/bin/true")


async def test_the_reason_of_a_spawner_that_does_not_start_is_told(box: Box) -> None:
    spawner = await box.open()
    (box.folder / records.SOCKET_NAME).rename(box.folder / "hidden")
    with pytest.raises(SpawnerError, match=rf"another spawner \(process {spawner.pid}\) serves this folder"):
        await box.open()
    (box.folder / "hidden").rename(box.folder / records.SOCKET_NAME)


async def test_starting_leaves_no_child_and_no_descriptor(box: Box) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    spawner = await box.open()
    stat = kernel.read_stat(spawner.pid)
    assert stat is not None
    assert stat.parent != os.getpid()
    assert stat.session == spawner.pid
    spawner.close()
    await asyncio.sleep(0.01)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


MARKED = [tree for tree in TREES if tree.keeps_a_mark]


@pytest.mark.parametrize("tree", MARKED, ids=lambda tree: tree.name)
async def test_nothing_is_left_of_a_task_whose_spawner_was_killed(box: Box, sleepers: Sleepers, tree: Tree) -> None:
    spawner = await box.open()
    spawner.spawn(box.request(box.other, "exec sleep 600"))
    spawner.spawn(box.request(box.task, f"{sleepers.script(tree)} exec sleep 600"))
    other, leader = await box.event(), await box.event()
    assert isinstance(other, Started)
    assert isinstance(leader, Started)
    member = await asyncio.to_thread(sleepers.pid)
    kill_and_wait(spawner.pid)
    assert is_alive(leader.pid)
    assert kill_leftovers(box.folder / box.task / "started", box.task) in (2, 3)  # a subshell may still be there
    assert not is_alive(member)
    assert not is_alive(leader.pid)
    assert is_alive(other.pid)
    assert kill_leftovers(box.folder / box.other / "started", box.other) == 1
    assert kill_leftovers(box.folder / box.other / "started", box.other) == 0


async def test_leftovers_are_found_by_their_marker_without_a_record(box: Box) -> None:
    spawner = await box.open()
    spawner.spawn(box.request(box.task, "sleep 600 & wait"))
    leader = await box.event()
    assert isinstance(leader, Started)
    kill_and_wait(spawner.pid)
    (box.folder / box.task / "started").write_text("torn {")
    assert read_started(box.folder / box.task) is None
    assert kill_leftovers(box.folder / box.task / "started", box.task) >= 1
    assert not is_alive(leader.pid)


@pytest.mark.parametrize("field", ["boot_id", "start_time"])
async def test_a_process_that_only_has_the_recorded_id_is_left_alone(tmp_path: Path, field: str) -> None:
    key = f"t-{uuid.uuid4()}.1"
    stranger = await asyncio.create_subprocess_exec("/bin/sleep", "600", start_new_session=True)
    stat = kernel.read_stat(stranger.pid)
    assert stat is not None
    record = {"key": key, "pid": stranger.pid, "start_time": stat.start_time, "boot_id": boot_id(), "stamp": 0}
    other = {"boot_id": "another", "start_time": stat.start_time - 1}[field]
    records.write_record(str(tmp_path), "started", {**record, field: other})
    assert kill_leftovers(tmp_path / "started", key) == 0
    assert is_alive(stranger.pid)
    records.write_record(str(tmp_path), "started", record)
    assert kill_leftovers(tmp_path / "started", key) == 1
    await stranger.wait()


def test_records_of_another_boot_damaged_or_missing_are_not_believed(tmp_path: Path) -> None:
    usage = {"cpu_ms": 1, "max_rss_kb": 2}
    body = {"key": "t.1", "exit_code": 0, "signal": None, "boot_id": "b", "ended_at": 1.5, "usage": usage}
    records.write_record(str(tmp_path), "exit", body)
    found = read_exit(tmp_path, "t.1", "b")
    assert found is not None
    assert (found.exit_code, found.ended_at, found.usage.cpu_ms) == (0, 1.5, 1)
    assert read_exit(tmp_path, "t.1", "c") is None
    assert read_exit(tmp_path, "t.2", "b") is None
    for text in ("", "{", "[]", "{}", '{"boot_id":"b"}', "\0\0\0"):
        (tmp_path / "exit").write_text(text)
        (tmp_path / "started").write_text(text)
        assert read_exit(tmp_path, "t.1", "b") is None
        assert read_started(tmp_path) is None
    assert read_exit(tmp_path / "absent", "t.1", "b") is None
    assert read_started(tmp_path / "absent") is None

"""The floors themselves, measured for a moment: real processes, a real database, real sockets."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pysqlite3.dbapi2 as sqlite3
import pytest

from scripts.benchmarks.commit import WARM_UP_COMMITS, CommitFloor
from scripts.benchmarks.echo import EchoFloor
from scripts.benchmarks.errors import BenchError
from scripts.benchmarks.floors import derive, floors
from scripts.benchmarks.rounds import run
from scripts.benchmarks.spawn import Method, SpawnFloor, calibrate
from scripts.benchmarks.worker import CHECKOUT, Worker


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def test_every_floor_is_measured_and_leaves_no_file(tmp_path: Path) -> None:
    figures = run(floors(tmp_path), rounds=2, window_s=0.05, progress=print)
    derived = derive(figures)
    assert all(value > 0 for figure in (*figures.values(), *derived.values()) for value in figure.rounds)
    parts = [figures[name].rounds[0] for name in ("ws_echo", "spawn", "commit")]
    assert derived["console_floor"].rounds[0] == pytest.approx(parts[0] + parts[1] + 4 * parts[2])
    assert derived["box_sequential_floor"].rounds[0] == pytest.approx(parts[1] + 2 * parts[2])
    rates = [figures[name] for name in ("spawn_8_popen", "spawn_8_threads", "spawn_8_loop")]
    assert derived["spawn_8"].p50 == max(rate.p50 for rate in rates)
    assert list(tmp_path.iterdir()) == []


def test_a_commit_is_one_durable_row_in_a_write_ahead_log_that_no_longer_grows(tmp_path: Path) -> None:
    floor = CommitFloor(tmp_path)
    floor.start()
    try:
        (database,) = tmp_path.glob("*/floor.db")
        log = database.with_name("floor.db-wal")
        size_bytes = log.stat().st_size
        commits = len(floor.sample(0.1))
        # How many pages a commit takes varies, so one turn of the log may end a few pages after another.
        assert log.stat().st_size - size_bytes < 16 * 4096
        with closing(sqlite3.connect(database)) as reader:
            assert reader.execute("SELECT count(*) FROM row").fetchone() == (WARM_UP_COMMITS + commits,)
            assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert floor._connection is not None
        assert floor._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        floor.stop()


@pytest.mark.parametrize("method", list(Method))
def test_a_spawn_of_each_method_gives_latencies_or_one_rate(method: Method) -> None:
    floor = SpawnFloor(method)
    floor.start()
    try:
        samples = floor.sample(0.1)
    finally:
        floor.stop()
    assert all(value > 0 for value in samples)
    assert (len(samples) > 1) == (method is Method.SEQUENTIAL)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("script", ["echo other", "echo test; exit 3"])
def test_a_bash_that_does_something_else_is_no_measurement(method: Method, script: str) -> None:
    program = (
        "import sys; from scripts.benchmarks import spawn; spawn.COMMAND = ('/bin/bash', '-c', sys.argv[2]); "
        "print(spawn._handle({'method': sys.argv[1], 'window_s': 0.01}))"
    )
    command = [sys.executable, "-c", program, method, script]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "BenchError: /bin/bash -c" in done.stderr


def test_the_calibration_takes_a_plausible_time() -> None:
    assert 0.1 < calibrate() < 1000


def test_an_echo_comes_back_as_it_was_sent() -> None:
    server = Worker("echo_server")
    try:
        client = Worker("echo_client", f"ws://127.0.0.1:{server.read()['port']}/")
        try:
            answer = client.ask({"text": "héllo", "window_s": 0.05})
        finally:
            client.stop()
    finally:
        server.stop()
    assert answer["last"] == "héllo"
    assert len(answer["samples_ms"]) > 1


def test_an_echo_that_never_started_can_be_stopped() -> None:
    EchoFloor().stop()


def test_a_worker_that_dies_is_an_error_with_its_status() -> None:
    worker = Worker("echo_client", "ws://127.0.0.1:1/")
    try:
        with pytest.raises(BenchError, match="echo_client process ended with status 1"):
            worker.ask({"text": "x", "window_s": 0.01})
    finally:
        worker.stop()


def test_the_command_refuses_a_file_that_it_could_not_write_before_it_measures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.benchmarks", "--short", "--json", str(tmp_path / "missing" / "file")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["bench", "hint"]


def test_the_command_refuses_a_tmpfs_in_two_lines_and_measures_nothing() -> None:
    with TemporaryDirectory(dir="/dev/shm") as memory:
        command = [sys.executable, "-m", "scripts.benchmarks", "--short", "--folder", memory]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["bench", "hint"]
    assert "--folder DIR" in lines[1]

"""Processes that wait for their attempt: one attempt each, nothing of another's, and none left behind."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.spawn import read_started
from appliance.spawner import kernel
from appliance.spawner.waiting import FEED_BYTES, WAITING
from tests.unit.appliance.spawner.daemon import LIMIT_S, Daemon, record, wait_for_end

# As bash tasks are run: the marker, then the script.
READER = 'IFS= read -r -d "" -u 9 OPERIS_ATTEMPT && IFS= read -r -d "" -u 9 SCRIPT || exit; eval "$SCRIPT"'


def prepare(daemon: Daemon, **fields: Any) -> None:
    (daemon.folder / "pool").mkdir(exist_ok=True)
    program = {"argv": ["/bin/bash", "--norc", "-c", READER], "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/"}
    daemon.send({"op": "prepare", "pool": str(daemon.folder / "pool"), **program, **fields})


def order(daemon: Daemon, key: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"op": "spawn", "key": key, "dir": str(daemon.folder / key), "feed": [key, script], **fields}


def waiting(daemon: Daemon) -> list[int]:
    """Those that wait now: their marker is empty."""
    pid = daemon.hello["pid"]
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if kernel.read_marker(child) == ""]


def until_waiting(daemon: Daemon, number: int = WAITING) -> list[int]:
    until = time.monotonic() + LIMIT_S
    while len(found := waiting(daemon)) != number:
        assert time.monotonic() < until, f"{found} wait, not {number}"
        time.sleep(0.002)
    return found


def run(daemon: Daemon, key: str, script: str, **fields: Any) -> int:
    """Run it; the process that did."""
    daemon.send(order(daemon, key, script, **fields))
    pid: int = daemon.event("started")["pid"]
    daemon.event("exited")
    return pid


def test_each_serves_one_attempt_and_another_takes_its_place(daemon: Daemon) -> None:
    prepare(daemon)
    served = []
    for number in range(5):
        ready = until_waiting(daemon)
        served.append(run(daemon, f"t.{number}", f"echo $$ {number} $OPERIS_ATTEMPT; echo e{number} >&2"))
        assert served[-1] in ready
        assert daemon.output(f"t.{number}") == f"{served[-1]} {number} t.{number}\n".encode()
        assert daemon.output(f"t.{number}", "stderr") == f"e{number}\n".encode()
    assert len(set(served)) == 5


def test_tasks_that_come_at_once_one_after_another_are_each_served_by_one_that_waited(daemon: Daemon) -> None:
    prepare(daemon)
    first, second = until_waiting(daemon)
    # The older has had the time to start whole; the next is started as soon as nothing runs.
    assert run(daemon, "t.1", "true") == min(first, second)
    served = [run(daemon, f"t.{number}", "true") for number in range(2, 30)]
    # One that was started for its task has no record, or one that names it.
    records = [read_started(daemon.folder / f"t.{number}") for number in range(2, 30)]
    assert sum(found is not None and found.key is None for found in records) >= 20
    assert len(set(served)) == 28


def test_what_it_starts_bears_the_marker_of_its_attempt(daemon: Daemon) -> None:
    prepare(daemon)
    until_waiting(daemon)
    run(daemon, "t.1", "env | grep ^OPERIS; cat /proc/self/environ | tr '\\0' '\\n' | grep ^OPERIS")
    assert daemon.output("t.1") == b"OPERIS_ATTEMPT=t.1\n" * 2


def test_its_time_begins_when_it_is_handed_over(daemon: Daemon) -> None:
    prepare(daemon)
    until_waiting(daemon)
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    daemon.send(order(daemon, "t.1", "true"))
    started = daemon.event("started")
    assert before <= started["began_s"] <= time.clock_gettime(time.CLOCK_BOOTTIME)
    daemon.event("exited")


def test_its_record_says_who_it_is_before_it_is_fed(daemon: Daemon) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    for folder in (daemon.folder / "pool").iterdir():
        until = time.monotonic() + LIMIT_S
        while (found := read_started(folder)) is None:
            assert time.monotonic() < until
        stat = kernel.read_stat(found.pid)
        assert stat is not None
        assert (found.key, found.start_time, found.pid in ready) == (None, stat.start_time, True)
        assert found.stamp == kernel.read_stamp(found.pid)
    os.mkfifo(daemon.folder / "go")
    daemon.send(order(daemon, "t.1", f"read -r _ < {daemon.folder}/go"))
    started = daemon.event("started")
    body = record(daemon.folder / "t.1", "started")
    assert (body["pid"], body["start_time"]) == (started["pid"], started["start_time"])
    (daemon.folder / "go").write_text("go\n")
    daemon.event("exited")


def test_one_that_was_killed_is_replaced_and_no_attempt_is_lost(daemon: Daemon, folder: Path) -> None:
    prepare(daemon)
    for number in range(20):
        for pid in until_waiting(daemon):
            os.kill(pid, signal.SIGKILL)
        # Some are fed before their end is noticed, some after, some to one that was started meanwhile.
        assert daemon.event_after(order(daemon, f"t.{number}", f"echo x >> {folder}/ran"))["exit_code"] in {0, None}
    ran = (folder / "ran").read_text().count("x") if (folder / "ran").exists() else 0
    assert 0 < ran <= 20


def test_they_end_with_the_spawner_and_do_nothing(daemon: Daemon, folder: Path) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    os.kill(daemon.hello["pid"], signal.SIGKILL)
    for pid in [*ready, daemon.hello["pid"]]:
        wait_for_end(pid)
    assert [path.read_bytes() for path in (folder / "pool").glob("*/std*")] == [b""] * 4


def test_another_daemon_finds_their_folders_free(daemon: Daemon, folder: Path) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    again = Daemon(folder)
    for pid in ready:
        wait_for_end(pid)
    assert waiting(again) == []
    prepare(again)
    until_waiting(again)
    run(again, "t.1", "echo again")
    assert again.output("t.1") == b"again\n"
    again.close()


def test_they_end_when_the_spawner_retires(daemon: Daemon) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    daemon.send({"op": "retire"})
    for pid in [*ready, daemon.hello["pid"]]:
        wait_for_end(pid)


@pytest.mark.parametrize("size", [FEED_BYTES - 10, FEED_BYTES + 10, 200_000])
def test_what_is_too_long_for_a_pipe_is_fed_to_a_process_of_its_own(daemon: Daemon, size: int) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    pid = run(daemon, "t.1", "echo ${#SCRIPT} #".ljust(size, "x"))
    assert daemon.output("t.1") == b"%d\n" % size
    assert (pid in ready) == (size < FEED_BYTES)


def test_an_attempt_that_ran_is_not_handed_over_again(daemon: Daemon, folder: Path) -> None:
    prepare(daemon)
    until_waiting(daemon)
    run(daemon, "t.1", f"echo x >> {folder}/ran")
    until_waiting(daemon)
    daemon.send(order(daemon, "t.1", f"echo x >> {folder}/ran"))
    assert "not started twice" in daemon.event("failed")["error"]
    assert (folder / "ran").read_text() == "x\n"
    assert len(until_waiting(daemon)) == WAITING


def test_a_leader_that_waited_long_ends_with_its_tree_and_no_other(daemon: Daemon) -> None:
    prepare(daemon)
    ready = until_waiting(daemon)
    daemon.send(order(daemon, "t.1", "setsid sleep 600 & env -i sleep 600 & echo $! >&2; wait"))
    pid = daemon.event("started")["pid"]
    assert pid in ready
    # By its environment, the leader still looks like one that waits.
    others = {*until_waiting(daemon, WAITING + 1)} - {pid}
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 5.0})
    daemon.event("exited")
    assert daemon.event("gone")["keys"] == ["t.1"]
    assert others <= {*waiting(daemon)}


def test_a_program_that_cannot_be_started_waits_for_nobody_and_its_attempts_say_why(daemon: Daemon) -> None:
    prepare(daemon, argv=["/no/such/program"])
    daemon.send(order(daemon, "t.1", "true"))
    assert daemon.event("failed")["error"] == "the program /no/such/program does not exist"
    assert waiting(daemon) == []


def test_without_a_program_an_order_must_name_one(daemon: Daemon) -> None:
    daemon.send(order(daemon, "t.1", "true"))
    assert daemon.is_closed_by_peer()

"""What a task leaves behind, and how it is ended."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from appliance.spawner import kernel
from tests.unit.appliance.spawner.daemon import (
    LIMIT_S,
    Daemon,
    carriers,
    is_alive,
    record,
    wait_for,
    wait_for_end,
)
from tests.unit.appliance.trees import TREES, Sleepers, Tree


def test_environment_is_the_ordered_one_and_the_marker(daemon: Daemon) -> None:
    daemon.run("t.1", "", argv=["/usr/bin/env"], env={"A": "1 ü"})
    assert sorted(daemon.output("t.1").splitlines()) == ["A=1 ü".encode(), b"OPERIS_ATTEMPT=t.1"]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_what_a_task_leaves_behind_is_ended_with_it(daemon: Daemon, sleepers: Sleepers, tree: Tree) -> None:
    os.mkfifo(daemon.folder / "go")
    daemon.start("t.1", f"{sleepers.script(tree)} read -r _ < {daemon.folder}/go; exit 4")
    pid = sleepers.pid()
    (daemon.folder / "go").write_text("go\n")
    assert daemon.event("exited")["exit_code"] == 4
    wait_for_end(pid)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_terminate_ends_the_whole_tree_and_no_other_task(daemon: Daemon, sleepers: Sleepers, tree: Tree) -> None:
    others = [daemon.start(f"older.{number}", "exec sleep 600") for number in range(2)]
    leader = daemon.start("t.1", f"{sleepers.script(tree)} exec sleep 600")
    member = sleepers.pid()
    others.append(daemon.start("younger.1", "exec sleep 600"))
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 5.0})
    exited = daemon.event("exited")
    assert (exited["key"], exited["signal"]) == ("t.1", signal.SIGTERM)
    assert not is_alive(leader)
    assert is_alive(member) is not tree.keeps_a_mark
    assert all(is_alive(pid) for pid in others)
    for key in ("older.0", "older.1"):  # what bears no mark is ended with the last task that may own it
        daemon.send({"op": "kill", "key": key})
        assert daemon.event("exited")["key"] == key
    wait_for_end(member)
    assert is_alive(others[-1])


def test_a_tree_that_ignores_sigterm_is_killed_after_the_grace(daemon: Daemon, sleepers: Sleepers) -> None:
    daemon.start("t.1", f"trap '' TERM; (setsid {sleepers.program} &); sleep 600 & wait")
    member = sleepers.pid()
    asked_s = time.monotonic()
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 0.4})
    assert daemon.event("exited")["signal"] == signal.SIGKILL
    assert 0.4 <= time.monotonic() - asked_s < 5
    assert not is_alive(member)


def test_a_task_that_ends_itself_in_the_grace_keeps_its_exit_code(daemon: Daemon, sleepers: Sleepers) -> None:
    daemon.start("t.1", f"trap 'echo bye; exit 7' TERM; {sleepers.program} & wait")
    sleepers.pid()
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 60.0})
    assert daemon.event("exited")["exit_code"] == 7
    assert daemon.output("t.1") == b"bye\n"


def test_a_stopped_task_acts_on_terminate(daemon: Daemon, sleepers: Sleepers) -> None:
    leader = daemon.start("t.1", f"trap 'exit 7' TERM; {sleepers.program} & wait")
    sleepers.pid()
    os.kill(leader, signal.SIGSTOP)
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 60.0})
    assert daemon.event("exited")["exit_code"] == 7


def test_the_exit_of_a_terminated_task_waits_for_its_whole_tree(daemon: Daemon, sleepers: Sleepers) -> None:
    daemon.start("t.1", f"(trap '' TERM; exec {sleepers.program}) & wait")
    stubborn = sleepers.pid()
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 0.3})
    assert daemon.event("exited")["signal"] == signal.SIGTERM
    assert not is_alive(stubborn)


def test_a_leftover_that_ignores_sigterm_is_killed_after_a_short_grace(daemon: Daemon, sleepers: Sleepers) -> None:
    os.mkfifo(daemon.folder / "go")
    daemon.start("t.1", f"(trap '' TERM; exec {sleepers.program}) & read -r _ < {daemon.folder}/go")
    stubborn = sleepers.pid()
    (daemon.folder / "go").write_text("go\n")
    daemon.event("exited")
    assert is_alive(stubborn)  # the exit did not wait for it
    wait_for_end(stubborn)


FORK_HAPPY = {
    "a shower of sessions": "while :; do setsid sleep 600 & done",
    "a group that doubles": "f() { sleep 0.05; f & f & wait; }; f & f & wait",
    "a runner that forks and ends at once": 'cd /tmp; export R=\'setsid bash -c "$R" &\'; bash -c "$R"; sleep 600',
}


@pytest.mark.parametrize("script", FORK_HAPPY.values(), ids=FORK_HAPPY.keys())
def test_a_tree_that_never_stops_forking_is_killed_to_the_last(daemon: Daemon, script: str) -> None:
    daemon.start("t.1", f"ulimit -u 4000; {script}", env={"PATH": "/usr/bin:/bin"})
    stamp = record(daemon.folder / "t.1", "started")["stamp"]
    deadline = time.monotonic() + LIMIT_S
    while len(carriers(stamp)) < 3:
        assert time.monotonic() < deadline
    daemon.send({"op": "kill", "key": "t.1"})
    assert daemon.event("exited")["signal"] == signal.SIGKILL
    daemon.run("t.2", ":")  # gives the spawner, which carries the last stamp, another one
    assert carriers(stamp) == []


def test_gone_is_said_only_when_nothing_of_the_task_can_write_any_more(daemon: Daemon, folder: Path) -> None:
    pid = daemon.start("t.1", f"setsid sh -c 'trap : TERM; echo $$ > {folder}/pid; sleep 600; sleep 600' & sleep 0.2")
    assert daemon.event("exited")["exit_code"] == 0
    left = int((folder / "pid").read_text())
    assert daemon.event("gone")["keys"] == ["t.1"]
    for each in (pid, left):
        assert kernel.read_stat(each) is None


def test_a_task_that_joins_the_spawners_group_or_anothers_takes_nobody_along(daemon: Daemon, folder: Path) -> None:
    other = daemon.start("t.1", "exec sleep 600")
    for number, group in enumerate((os.getpgid(daemon.hello["pid"]), other), 2):
        join = (
            f"import os, time; os.setpgid(0, {group}); open({str(folder / 'joined')!r}, 'w').close(); time.sleep(600)"
        )
        daemon.start(f"t.{number}", f'{sys.executable} -c "{join}"; true')
        wait_for(folder / "joined")
        (folder / "joined").unlink()
        daemon.send({"op": "kill", "key": f"t.{number}"})
        assert daemon.event("exited")["signal"] == signal.SIGKILL
    assert daemon.run("t.9", "exit 9")["exit_code"] == 9
    stat = kernel.read_stat(other)
    assert stat is not None
    assert stat.state != b"Z"


def test_what_a_leader_that_ends_at_once_left_is_recorded_while_it_lives(daemon: Daemon, folder: Path) -> None:
    daemon.run(
        "t.1", "(trap '' TERM; setsid env -i /bin/bash --norc -c 'trap \"\" TERM; sleep 600; sleep 600') & exit 0"
    )
    wait_for(folder / "t.1" / "started")
    assert daemon.event("gone")["keys"] == ["t.1"]

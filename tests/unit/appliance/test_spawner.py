"""The spawner program as a daemon sees it: real processes, its real socket, no client of ours between."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import spawner
from tests.unit.appliance.trees import TREES, Sleepers, Tree

BASH = ["/bin/bash", "--norc", "-c"]
LIMIT_S = 20.0


class Daemon:
    """One connection to the spawner of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: list[str] = []
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(LIMIT_S)
        self.connection.connect(str(folder / spawner.SOCKET_NAME))
        self.lines = self.connection.makefile("rb")
        self.hello = self.event("hello")

    def send(self, *orders: dict[str, Any]) -> None:
        self.connection.sendall(b"".join(json.dumps(order).encode() + b"\n" for order in orders))

    def order(self, key: str, script: str, **fields: Any) -> dict[str, Any]:
        order = {"op": "spawn", "key": key, "dir": str(self.folder / key), "argv": [*BASH, script]}
        return {**order, "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/", "stdin": None, "user": None, **fields}

    def spawn(self, key: str, script: str, **fields: Any) -> None:
        self.send(self.order(key, script, **fields))

    def event(self, kind: str) -> dict[str, Any]:
        """The next event, which must be of that kind; what is gone is noted aside, since it may come at any time."""
        event: dict[str, Any] = json.loads(self.lines.readline())
        while event["ev"] == "gone" != kind:
            self.gone += event["keys"]
            event = json.loads(self.lines.readline())
        assert event["ev"] == kind, event
        return event

    def start(self, key: str, script: str, **fields: Any) -> int:
        """The pid of an attempt that runs now."""
        self.spawn(key, script, **fields)
        pid: int = self.event("started")["pid"]
        return pid

    def run(self, key: str, script: str, **fields: Any) -> dict[str, Any]:
        self.start(key, script, **fields)
        return self.event("exited")

    def output(self, key: str, stream: str = "stdout") -> bytes:
        return (self.folder / key / stream).read_bytes()

    def is_closed_by_peer(self) -> bool:
        while (line := self.lines.readline()) and json.loads(line)["ev"] == "gone":
            pass
        return line == b""

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


def start_program(folder: Path) -> bytes:
    """What it says when it listens; b"" where it does not, and then FOLDER/log says why."""
    command = [sys.executable, "-I", "-S", spawner.__file__, "--folder", str(folder)]
    with (folder / "log").open("ab") as log:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, timeout=LIMIT_S, check=False, env={}
        )
    return done.stdout


def wait_for(path: Path) -> None:
    """Until the spawner has written it."""
    until = time.monotonic() + LIMIT_S
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not come"
        time.sleep(0.001)


def wait_for_end(pid: int) -> None:
    """Return when the process has ended; TimeoutError where it does not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([fd], [], [], LIMIT_S)[0]:
            raise TimeoutError(f"process {pid} lives: {spawner.read_file(f'/proc/{pid}/cmdline')!r}")
    finally:
        os.close(fd)


def is_alive(pid: int) -> bool:
    stat = spawner.read_stat(pid)
    return stat is not None and stat.state != b"Z"


def carriers(stamp: int) -> list[int]:
    """The living processes that carry a stamp, and are not the spawner that gave it."""
    return [pid for pid in spawner.all_pids() if spawner.read_stamp(pid) == stamp and is_alive(pid)]


def signal_sets(status: str) -> list[int]:
    """The blocked and the ignored signals of a process, but 32 and 33: posix_spawn of glibc ignores those, its own."""
    return [int(mask, 16) & ~(0b11 << 31) for mask in re.findall(r"Sig(?:Blk|Ign):\t(\w+)", status)]


def record(folder: Path, name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((folder / name).read_bytes())
    return body


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    assert start_program(tmp_path) == b"ready\n"
    yield tmp_path
    pid = int((tmp_path / spawner.LOCK_NAME).read_text())
    if is_alive(pid) and (tmp_path / spawner.SOCKET_NAME).exists():
        last = Daemon(tmp_path)
        last.send(*({"op": "kill", "key": each["key"]} for each in last.hello["running"]), {"op": "retire"})
        wait_for_end(pid)
        last.close()


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(folder)
    yield daemon
    daemon.close()


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[Sleepers]:
    sleepers = Sleepers(tmp_path)
    yield sleepers
    sleepers.close()


def test_output_reaches_the_files_byte_for_byte(daemon: Daemon) -> None:
    daemon.run("t.1", r"printf '\000\377\n'; head -c 300000 /dev/zero; printf '\200' >&2")
    assert daemon.output("t.1") == b"\x00\xff\n" + bytes(300000)
    assert daemon.output("t.1", "stderr") == b"\x80"
    assert (daemon.folder / "t.1").stat().st_mode & 0o777 == 0o700


def test_output_is_appended_even_where_the_task_truncates_it(daemon: Daemon) -> None:
    daemon.run("t.1", "echo lost; : > /dev/stdout; echo kept")
    assert daemon.output("t.1") == b"kept\n"


def test_stdin_is_the_named_file_or_empty(daemon: Daemon) -> None:
    given = daemon.folder / "given"
    given.write_bytes(b"a\0b")
    daemon.run("t.1", "cat", stdin=str(given))
    daemon.run("t.2", "cat")
    assert daemon.output("t.1") == b"a\0b"
    assert daemon.output("t.2") == b""


def test_environment_is_the_ordered_one_and_the_marker(daemon: Daemon) -> None:
    daemon.run("t.1", "", argv=["/usr/bin/env"], env={"A": "1 ü"})
    assert sorted(daemon.output("t.1").splitlines()) == ["A=1 ü".encode(), b"OPERIS_ATTEMPT=t.1"]


def test_a_task_starts_in_the_ordered_folder(daemon: Daemon) -> None:
    daemon.run("t.1", "pwd -P", cwd=str(daemon.folder))
    assert daemon.output("t.1").decode() == f"{daemon.folder.resolve()}\n"
    assert Path(f"/proc/{daemon.hello['pid']}/cwd").readlink() == Path("/")


def test_a_task_inherits_no_descriptor_no_ignored_and_no_blocked_signal(daemon: Daemon) -> None:
    daemon.run("t.1", "exec cat /proc/self/status")
    status = daemon.output("t.1").decode()
    assert signal_sets(status) == [0, 0]
    daemon.run("t.2", "for n in {0..63}; do [ -e /proc/$$/fd/$n ] && echo $n; done")
    assert daemon.output("t.2") == b"0\n1\n2\n"


def test_records_are_there_when_the_events_come(daemon: Daemon) -> None:
    daemon.spawn("t.1", "sleep 0.1; exit 3")
    started = daemon.event("started")
    on_disk = record(daemon.folder / "t.1", "started")
    assert (on_disk["pid"], on_disk["start_time"]) == (started["pid"], started["start_time"])
    assert on_disk["boot_id"] == daemon.hello["boot_id"] == spawner.read_boot_id()
    exited = daemon.event("exited")
    on_disk = record(daemon.folder / "t.1", "exit")
    assert (exited["exit_code"], exited["signal"]) == (on_disk["exit_code"], on_disk["signal"]) == (3, None)
    assert on_disk["usage"] == exited["usage"]
    assert on_disk["boot_id"] == daemon.hello["boot_id"]
    assert abs(on_disk["ended_at"] - time.time()) < LIMIT_S


def test_death_by_a_signal_is_told_as_such(daemon: Daemon) -> None:
    exited = daemon.run("t.1", "kill -SEGV $$")
    assert (exited["exit_code"], exited["signal"]) == (None, signal.SIGSEGV)


def test_usage_counts_what_the_task_used(daemon: Daemon) -> None:
    idle = daemon.run("t.1", ":")["usage"]
    busy = daemon.run("t.2", "x=$(head -c 30000000 /dev/zero | tr '\\0' x); for ((i = 0; i < 100000; i++)); do :; done")
    assert busy["usage"]["cpu_ms"] > idle["cpu_ms"] + 50
    assert busy["usage"]["max_rss_kb"] > idle["max_rss_kb"] + 25000


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"cwd": "/no/such"}, "the working folder /no/such does not exist"),
    ({"cwd": "/etc/passwd"}, "the working folder /etc/passwd is not a folder"),
    ({"cwd": "/a\0b"}, "cannot enter the working folder '/a\\x00b': embedded null byte"),
    ({"argv": ["/no/such"]}, "the program /no/such does not exist"),
    ({"argv": ["/etc/passwd"]}, "the program /etc/passwd may not be run by the box"),
    ({"argv": ["bash"]}, "the program bash is not an absolute path"),
    ({"argv": ["/bin/true", "x" * 200_000]}, "cannot start the program '/bin/true': argument list too long"),
    ({"argv": ["/bin/true", "a\0b"]}, "cannot start the program '/bin/true': embedded null byte"),
    ({"stdin": "/no/such"}, "cannot read the standard input '/no/such': no such file or directory"),
    ({"stdin": "/a\0b"}, "cannot read the standard input '/a\\x00b': embedded null byte"),
    ({"user": "no-such-user"}, "the user no-such-user does not exist on this box"),
    ({"dir": "/no/such/t.1"}, "cannot make the attempt's folder /no/such/t.1: no such file or directory"),
]


@pytest.mark.parametrize(("fields", "sentence"), REFUSALS, ids=[sentence[:40] for _, sentence in REFUSALS])
def test_what_cannot_be_started_is_refused_in_a_sentence(daemon: Daemon, fields: dict[str, Any], sentence: str) -> None:
    daemon.spawn("t.1", "", **fields)
    assert daemon.event("failed") == {"ev": "failed", "key": "t.1", "error": sentence}
    assert not list(daemon.folder.glob("t.1/*"))
    assert daemon.run("t.1", "echo now")["exit_code"] == 0


def test_a_script_without_its_interpreter_is_refused(daemon: Daemon) -> None:
    script = daemon.folder / "script"
    script.write_text("#!/no/such\n")
    script.chmod(0o755)
    daemon.spawn("t.1", "", argv=[str(script)])
    assert daemon.event("failed")["error"] == f"the program {script} has no interpreter"


def test_another_user_runs_the_task_or_it_is_refused(daemon: Daemon) -> None:
    daemon.spawn("t.1", "trap '' TERM; sleep 600 & wait", user="nobody")
    if os.geteuid() != 0:
        assert "does not run as root" in daemon.event("failed")["error"]
        return
    daemon.event("started")
    daemon.send({"op": "kill", "key": "t.1"})
    assert daemon.event("exited")["signal"] == signal.SIGKILL
    daemon.run("t.2", "id -u; id -G; grep -h '^Sig[IB]' /proc/self/status", user="nobody")
    uid, groups, *status = daemon.output("t.2").decode().splitlines()
    assert (uid, groups) == ("65534", "65534")
    assert signal_sets("\n".join(status)) == [0, 0]


def test_an_exit_is_seen_though_the_next_task_of_another_user_starts_just_then(daemon: Daemon) -> None:
    if os.geteuid() != 0:
        daemon.spawn("t.1", ":", user="nobody")
        assert "does not run as root" in daemon.event("failed")["error"]
        return
    pid = daemon.start("t.1", "exec sleep 600", user="nobody")
    os.kill(daemon.hello["pid"], signal.SIGSTOP)
    daemon.spawn("t.2", "exit 2", user="nobody")
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    os.kill(daemon.hello["pid"], signal.SIGCONT)
    waited_for = {("started", "t.2"), ("exited", "t.1"), ("exited", "t.2")}
    while waited_for:
        event = json.loads(daemon.lines.readline())
        waited_for.discard((event["ev"], event.get("key")))


def test_the_same_key_is_never_started_twice(daemon: Daemon) -> None:
    ran = daemon.folder / "ran"
    script = f"echo x >> {ran}; read -r _ < {daemon.folder}/go"
    os.mkfifo(daemon.folder / "go")
    daemon.send(daemon.order("t.1", script), daemon.order("t.1", script))
    daemon.event("started")
    assert daemon.event("failed")["error"] == "attempt t.1 was started before: it is not started twice"
    wait_for(daemon.folder / "t.1" / "started")
    (daemon.folder / "go").write_text("go\n")
    daemon.event("exited")
    daemon.spawn("t.1", script)
    assert "not started twice" in daemon.event("failed")["error"]
    attempt, kept = daemon.folder / "t.1", daemon.folder / "kept"
    kept.mkdir()
    for evidence in ("stdout", "stderr", "started"):  # each alone is proof enough
        for path in list(attempt.iterdir()):
            if path.name != evidence:
                path.rename(kept / path.name)
        daemon.spawn("t.1", script)
        assert "not started twice" in daemon.event("failed")["error"]
        for path in list(kept.iterdir()):
            path.rename(attempt / path.name)
    assert ran.read_text() == "x\n"


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


def test_a_task_goes_on_while_the_daemon_is_away(daemon: Daemon, folder: Path) -> None:
    os.mkfifo(folder / "go")
    daemon.spawn("t.1", f"echo a; read -r _ < {folder}/go; echo b; exit 5")
    started = daemon.event("started")
    daemon.close()
    again = Daemon(folder)
    assert again.hello["running"] == [{name: started[name] for name in ("key", "pid", "start_time", "began_s")}]
    (folder / "go").write_text("go\n")
    assert again.event("exited")["exit_code"] == 5
    assert again.output("t.1") == b"a\nb\n"
    again.close()


def test_the_exit_of_a_task_that_ended_while_the_daemon_was_away_is_on_disk(daemon: Daemon, folder: Path) -> None:
    os.mkfifo(folder / "go")
    daemon.spawn("t.1", f"read -r _ < {folder}/go; exit 5")
    pid = daemon.event("started")["pid"]
    daemon.close()
    fd = os.pidfd_open(pid)
    (folder / "go").write_text("go\n")
    assert select.select([fd], [], [], LIMIT_S)[0]
    os.close(fd)
    again = Daemon(folder)
    if again.hello["running"]:  # it was asked before it saw the end
        again.event("exited")
    assert record(folder / "t.1", "exit")["exit_code"] == 5
    again.close()


def test_the_grace_runs_out_without_a_daemon(daemon: Daemon, sleepers: Sleepers) -> None:
    daemon.start("t.1", f"trap '' TERM; exec {sleepers.program}")
    pid = sleepers.pid()
    daemon.send({"op": "terminate", "key": "t.1", "grace_s": 0.3})
    daemon.close()
    wait_for_end(pid)


def test_the_newest_daemon_wins(daemon: Daemon, folder: Path) -> None:
    newer = Daemon(folder)
    assert daemon.is_closed_by_peer()
    assert newer.run("t.1", "exit 2")["exit_code"] == 2
    newer.close()


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"op":"what"}', b'{"op":"spawn"}', b'{"op":"terminate","key":"t.1","grace_s":"x"}', b"\xff"]
)
def test_what_is_no_order_closes_the_connection_and_ends_no_task(daemon: Daemon, folder: Path, line: bytes) -> None:
    daemon.start("t.1", "exec sleep 600")
    daemon.connection.sendall(line + b"\n")
    assert daemon.is_closed_by_peer()
    again = Daemon(folder)
    assert [each["key"] for each in again.hello["running"]] == ["t.1"]
    again.close()


def test_orders_may_come_in_pieces_and_in_one(daemon: Daemon) -> None:
    text = b"".join(json.dumps(daemon.order(f"t.{number}", "exit 0")).encode() + b"\n" for number in range(3))
    for start in range(0, len(text), 50):
        daemon.connection.sendall(text[start : start + 50])
    waited_for = {"t.0", "t.1", "t.2"}
    while waited_for:
        event = json.loads(daemon.lines.readline())
        if event["ev"] == "exited":
            waited_for.remove(event["key"])


def test_two_hundred_tasks_eight_at_once_are_each_told_once_and_leak_nothing(daemon: Daemon) -> None:
    daemon.run("warm.1", ":")
    descriptors = Path(f"/proc/{daemon.hello['pid']}/fd")
    before = len(list(descriptors.iterdir()))
    waiting = [daemon.order(f"t.{number}", f"echo {number}; exit {number % 7}") for number in range(200)]
    daemon.send(*(waiting.pop() for _ in range(8)))
    told: list[tuple[str, str]] = []
    codes: dict[str, int] = {}
    while len(told) < 600:
        event = json.loads(daemon.lines.readline())
        told += [(event["ev"], key) for key in event.get("keys", [event.get("key")]) if key != "warm.1"]
        if event["ev"] == "exited":
            codes[event["key"]] = event["exit_code"]
            if waiting:
                daemon.send(waiting.pop())
    assert len(set(told)) == 600  # each was started, exited and was gone, once
    assert codes == {f"t.{number}": number % 7 for number in range(200)}
    assert all(daemon.output(f"t.{number}") == f"{number}\n".encode() for number in range(200))
    assert len(list(descriptors.iterdir())) == before
    assert daemon.folder.stat().st_nlink > 200


def test_it_neither_wakes_nor_grows_while_nothing_happens(daemon: Daemon) -> None:
    daemon.start("t.1", "exec sleep 600")

    def figures() -> tuple[int, int]:
        pid = daemon.hello["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        match = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
        assert match
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(match[1]), int(fields[11]) + int(fields[12])

    daemon.send({"op": "list"})  # what the start still had to do is done when this is answered
    daemon.event("hello")
    time.sleep(0.2)
    wakes, ticks = figures()
    time.sleep(1.0)  # the time over which it is measured
    wakes_after, ticks_after = figures()
    assert wakes_after - wakes <= 1
    assert ticks_after - ticks <= 1
    rss_kb = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{daemon.hello['pid']}/status").read_text())
    assert rss_kb
    assert int(rss_kb[1]) < 16_000


def test_it_retires_after_its_last_task_and_starts_nothing_more(daemon: Daemon, folder: Path) -> None:
    os.mkfifo(folder / "go")
    daemon.start("t.1", f"read -r _ < {folder}/go")
    daemon.send({"op": "retire"}, daemon.order("t.2", ":"))
    assert daemon.event("failed")["error"] == "the spawner is retiring and starts nothing more"
    (folder / "go").write_text("go\n")
    daemon.event("exited")
    assert daemon.is_closed_by_peer()
    wait_for_end(daemon.hello["pid"])
    assert not (folder / spawner.SOCKET_NAME).exists()


def test_a_daemon_that_comes_back_ends_the_retirement(daemon: Daemon, folder: Path) -> None:
    daemon.start("t.1", "exec sleep 600")
    daemon.send({"op": "retire"})
    daemon.close()
    again = Daemon(folder)
    assert again.run("t.2", "exit 6")["exit_code"] == 6
    again.close()


def test_the_signals_of_a_service_manager_and_a_terminal_end_neither_it_nor_its_tasks(daemon: Daemon) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(daemon.hello["pid"], number)
    assert daemon.run("t.1", "exit 8")["exit_code"] == 8
    assert os.getsid(daemon.hello["pid"]) == daemon.hello["pid"]


def test_an_exit_that_the_disk_did_not_take_is_told_at_every_hello_until_it_does(daemon: Daemon, folder: Path) -> None:
    obstacle = folder / "t.1" / "exit"
    obstacle.mkdir(parents=True)
    assert daemon.run("t.1", "exit 9")["exit_code"] == 9
    daemon.close()
    for _ in range(2):
        again = Daemon(folder)
        assert again.event("exited")["exit_code"] == 9
        again.close()
        assert obstacle.is_dir()
    obstacle.rmdir()
    again = Daemon(folder)
    assert again.event("exited")["exit_code"] == 9
    assert record(folder / "t.1", "exit")["exit_code"] == 9
    again.close()


def test_a_second_spawner_of_a_folder_says_who_serves_it(daemon: Daemon, folder: Path) -> None:
    assert start_program(folder) == b""
    assert f"another spawner (process {daemon.hello['pid']}) serves this folder" in (folder / "log").read_text()
    assert daemon.run("t.1", "exit 1")["exit_code"] == 1


def test_it_imports_little(daemon: Daemon) -> None:
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='x'); "
        "print(sorted({'typing', 'subprocess', 'asyncio', 'dataclasses', 'pathlib', 'appliance'} & set(sys.modules)))"
    )
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", code, spawner.__file__], capture_output=True, check=True)
    assert bare.stdout in (b"[]\n", b"['typing']\n")


def test_gone_is_said_only_when_nothing_of_the_task_can_write_any_more(daemon: Daemon, folder: Path) -> None:
    pid = daemon.start("t.1", f"setsid sh -c 'trap : TERM; echo $$ > {folder}/pid; sleep 600; sleep 600' & sleep 0.2")
    assert daemon.event("exited")["exit_code"] == 0
    left = int((folder / "pid").read_text())
    assert daemon.event("gone")["keys"] == ["t.1"]
    for each in (pid, left):
        assert spawner.read_stat(each) is None


def test_a_folder_is_given_to_the_next_attempt_with_nothing_of_the_last(daemon: Daemon, folder: Path) -> None:
    daemon.run("t.1", "echo a long first line; echo one >&2; exit 4")
    assert daemon.event("gone")["keys"] == ["t.1"]
    assert daemon.run("t.2", "echo two; sleep 0.1", reuse=str(folder / "t.1"))["exit_code"] == 0
    assert not (folder / "t.1").exists()
    assert (daemon.output("t.2"), daemon.output("t.2", "stderr")) == (b"two\n", b"")
    assert (record(folder / "t.2", "started")["key"], record(folder / "t.2", "exit")["key"]) == ("t.2", "t.2")


def test_a_folder_to_reuse_that_is_gone_is_made_anew(daemon: Daemon, folder: Path) -> None:
    assert daemon.run("t.1", "echo one", reuse=str(folder / "absent"))["exit_code"] == 0
    assert daemon.output("t.1") == b"one\n"


def test_an_attempt_that_ran_is_not_started_again_in_a_reused_folder(daemon: Daemon, folder: Path) -> None:
    daemon.run("t.1", "echo one")
    daemon.run("t.2", "echo two")
    daemon.spawn("t.2", "echo again", reuse=str(folder / "t.1"))
    assert "not started twice" in daemon.event("failed")["error"]
    assert daemon.output("t.2") == b"two\n"


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
    stat = spawner.read_stat(other)
    assert stat is not None
    assert stat.state != b"Z"


def test_what_an_earlier_attempt_wrote_is_gone_before_its_folder_has_the_new_name(tmp_path: Path) -> None:
    old, new = tmp_path / "t.1", tmp_path / "t.2"
    for folder in (old, new):
        folder.mkdir()
    for name in ("stdout", "stderr"):
        (old / name).write_text("of another task")
    (new / "stdin").touch()  # the folder cannot be given: what is seen then is the state just before it would be
    assert not spawner.adopt_folder(str(old), str(new))
    assert [(old / name).read_bytes() for name in ("stdout", "stderr")] == [b"", b""]


def test_what_a_leader_that_ends_at_once_left_is_recorded_while_it_lives(daemon: Daemon, folder: Path) -> None:
    daemon.run(
        "t.1", "(trap '' TERM; setsid env -i /bin/bash --norc -c 'trap \"\" TERM; sleep 600; sleep 600') & exit 0"
    )
    wait_for(folder / "t.1" / "started")
    assert daemon.event("gone")["keys"] == ["t.1"]

"""The spawner program as a daemon sees it: orders, events, records."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from appliance import spawn
from appliance.spawner import kernel, launch, records
from tests.unit.appliance.spawner.daemon import (
    LIMIT_S,
    Daemon,
    record,
    signal_sets,
    start_program,
    wait_for,
    wait_for_end,
)
from tests.unit.appliance.trees import Sleepers


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
    assert on_disk["boot_id"] == daemon.hello["boot_id"] == kernel.read_boot_id()
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
        event = daemon.next()
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
        event = daemon.next()
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
        event = daemon.next()
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


@pytest.mark.alone
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
    assert not (folder / records.SOCKET_NAME).exists()


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
        "import sys; sys.path.append(sys.argv[1]); import appliance.spawner.start; "
        "print(sorted({'typing', 'subprocess', 'asyncio', 'dataclasses', 'pathlib', 'cloudsync'} & set(sys.modules)))"
    )
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(spawn.PROGRAM.parents[1])], capture_output=True, check=True
    )
    assert bare.stdout == b"[]\n"


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


def test_what_an_earlier_attempt_wrote_is_gone_before_its_folder_has_the_new_name(tmp_path: Path) -> None:
    old, new = tmp_path / "t.1", tmp_path / "t.2"
    for folder in (old, new):
        folder.mkdir()
    for name in ("stdout", "stderr"):
        (old / name).write_text("of another task")
    (new / "stdin").touch()  # the folder cannot be given: what is seen then is the state just before it would be
    assert not launch.adopt_folder(str(old), str(new))
    assert [(old / name).read_bytes() for name in ("stdout", "stderr")] == [b"", b""]

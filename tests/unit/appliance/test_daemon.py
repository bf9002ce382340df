"""The real daemon: how it starts and stops, what it costs, and what it says to whom it cannot serve."""

import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from tests.system.plant import BoxProgram, Plant, wait_file
from tests.system.program import BIN, LIMIT_S, wait_until

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[BoxProgram]:
    """A box without a hub."""
    box = BoxProgram(tmp_path / "box", "box", (), {})
    yield box
    box.end()


def run(*arguments: object, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    return subprocess.run(
        [BIN / "operis-box", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def cpu_s(pid: int) -> float:
    """What a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def tasks_of(box: BoxProgram) -> list[tuple[str, str]]:
    """State and error code of each task in its journal."""
    connection = sqlite3.connect(f"file:{box.journal}?mode=ro", uri=True)
    try:
        return list(connection.execute("SELECT state, coalesce(error_code, '') FROM tasks ORDER BY n").fetchall())
    finally:
        connection.close()


# Starting and stopping


@pytest.mark.alone
def test_it_is_ready_within_two_seconds(box: BoxProgram) -> None:
    box.start()
    box.stop()
    took = []
    for _ in range(3):
        began = time.monotonic()
        box.start()
        took.append(time.monotonic() - began)
        box.stop()
    assert min(took) <= 2.0, took


def test_sigterm_ends_it_with_0_and_takes_the_spawner_along_where_nothing_runs(box: BoxProgram) -> None:
    box.start()
    pid = box.spawner_pid
    assert pid is not None
    assert box.stop() == 0
    wait_until("the end of the spawner", lambda: box.spawner_pid is None)
    assert "Traceback" not in box.said()
    assert not (box.data / "box.sock").exists()


def test_sigint_ends_it_with_130(box: BoxProgram) -> None:
    box.start()
    assert box.stop(signal.SIGINT) == 130
    assert "Traceback" not in box.said()


def test_sigterm_leaves_a_task_running_and_sigint_ends_it(plant: Plant, tmp_path: Path) -> None:
    box = plant.start_box("leaving")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    spec = {"kind": "bash.exec", "command": f"echo $$ > {tmp_path}/one; read -r _ < {gate}; echo on"}
    first = plant.api().post("boxes/leaving/tasks", spec)["id"]
    pid = int(wait_file(tmp_path / "one"))
    assert box.stop() == 0
    assert Path(f"/proc/{pid}").exists()
    box.start()
    gate.write_text("go\n")
    assert plant.wait_task(first)["stdout"] == "on\n"

    spec = {"kind": "bash.exec", "command": f"echo $$ > {tmp_path}/two; sleep 600"}
    second = plant.api().post("boxes/leaving/tasks", spec)["id"]
    pid = int(wait_file(tmp_path / "two"))
    assert box.stop(signal.SIGINT) == 130
    assert not Path(f"/proc/{pid}").exists()
    task = plant.wait_task(second)
    assert (task["state"], task["error"]["code"]) == ("interrupted", "stopped")


def test_a_killed_daemon_loses_nothing(plant: Plant, tmp_path: Path) -> None:
    box = plant.start_box("killed")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    spec = {"kind": "bash.exec", "command": f"echo before; echo > {tmp_path}/up; read -r _ < {gate}; echo after"}
    task_id = plant.api().post("boxes/killed/tasks", spec)["id"]
    wait_file(tmp_path / "up")
    box.kill()
    gate_fd = os.open(gate, os.O_RDWR)
    os.write(gate_fd, b"go\n")
    box.start()
    os.close(gate_fd)
    task = plant.wait_task(task_id)
    assert (task["state"], task["stdout"]) == ("succeeded", "before\nafter\n")


# What it costs


@pytest.mark.alone
def test_connected_and_idle_it_uses_at_most_one_percent_of_a_core_and_120_mb(plant: Plant) -> None:
    box = plant.start_box("idle")
    plant.api().post("boxes/idle/tasks?wait_s=20", {"kind": "bash.exec", "command": "echo warm"})
    spawner = box.spawner_pid
    assert spawner is not None
    before = cpu_s(box.pid) + cpu_s(spawner)
    time.sleep(10)  # the time over which it is measured
    used = cpu_s(box.pid) + cpu_s(spawner) - before
    assert used <= 0.1, f"{used:.2f} s of CPU in 10 s"
    assert rss_mb(box.pid) + rss_mb(spawner) <= 120


# What it refuses


def test_a_second_daemon_is_refused_and_the_first_goes_on(box: BoxProgram) -> None:
    box.start()
    second = run("run", "--data", box.data)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-2:] == [
        f"operis-box: a daemon (process {box.pid}) already works in {box.data}",
        f"hint: Ask it with 'operis-box status --data {box.data}', or give this one a folder of its own.",
    ]
    assert box.status()["running"] is True


def test_a_bad_token_ends_a_new_box_with_one_clear_message(plant: Plant, tmp_path: Path) -> None:
    arguments = ("--hub", plant.relay_url, "--web", plant.url, "--enrol", "token-4711-secret", "--name", "refused")
    done = run("run", "--data", tmp_path / "box", *arguments)
    assert done.returncode == 1
    assert "the hub does not take this box" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "token-4711-secret" not in done.stderr


def broken_folder(data: Path) -> None:
    data.write_text("no folder")


def broken_format(data: Path) -> None:
    data.mkdir()
    (data / "format").write_text("99\n")


def broken_key(data: Path) -> None:
    data.mkdir()
    (data / "identity.key").write_bytes(b"short")


def broken_key_folder(data: Path) -> None:
    (data / "identity.key").mkdir(parents=True)


def broken_enrolment(data: Path) -> None:
    data.mkdir()
    (data / "enrolment.json").write_text("[1, 2")


def broken_journal(data: Path) -> None:
    (data / "journal.db").mkdir(parents=True)


def broken_settings(data: Path) -> None:
    data.mkdir()
    (data / "box.toml").write_text("concurrency = 0\n")


def broken_attempts(data: Path) -> None:
    data.mkdir()
    (data / "attempts").write_text("")


def broken_socket(data: Path) -> None:
    (data / "box.sock").mkdir(parents=True)


def broken_spawner(data: Path) -> None:
    (data / "spawner.sock").mkdir(parents=True)


def broken_lock(data: Path) -> None:
    (data / "lock").mkdir(parents=True)


def broken_reserve(data: Path) -> None:
    (data / "reserve").mkdir(parents=True)


BROKEN = [
    (broken_socket, "box.sock"),
    (broken_spawner, "spawner"),
    (broken_lock, "lock"),
    (broken_reserve, "reserve"),
    (broken_folder, "is not a folder"),
    (broken_format, "newer version"),
    (broken_key, "is damaged"),
    (broken_key_folder, "identity.key"),
    (broken_enrolment, "is damaged"),
    (broken_journal, "journal.db"),
    (broken_settings, "concurrency"),
    (broken_attempts, "attempts"),
]


@pytest.mark.parametrize(("breaks", "said"), BROKEN, ids=[breaks.__name__ for breaks, _ in BROKEN])
def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, breaks: object, said: str) -> None:
    assert callable(breaks)
    breaks(tmp_path / "box")
    done = run("run", "--data", tmp_path / "box")
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_another_user_is_named_with_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "box"
    data.mkdir(mode=0o700)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command: list[str | Path] = [*other, BIN / "operis-box", "run", "--data", data]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"operis-box: {data}")
    assert "cannot be written: permission denied" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("dance",), 2),
        (("run",), 2),
        (("run", "--data", "x", "--surprise"), 2),
        (("run", "--data", "x", "--concurrency", "many"), 1),
        (("run", "--data", "x", "--hub", "http://hub"), 1),
        (("run", "--data", "x", "--task-user", "no-such-user"), 1),
        (("status",), 2),
    ],
)
def test_a_wrong_command_line_gets_one_clear_message(
    tmp_path: Path, arguments: tuple[str, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    message, hint = done.stderr.splitlines()[-2:]
    assert message.startswith("operis-box: ")
    assert hint.startswith("hint: ")
    assert "Traceback" not in done.stderr


def test_what_was_said_of_the_hub_is_remembered_and_an_enrolled_box_keeps_its_name(plant: Plant) -> None:
    box = plant.start_box("named")
    box.stop()
    again = BoxProgram(box.data, "named", (), {})
    again.start("--enrol", "ignored-token-99", "--name", "another")
    try:
        plant.wait_status("named", "connected")
        assert "keeps its name" in again.said()
        assert "ignored-token-99" not in again.said()
    finally:
        again.stop()


def test_an_idle_link_that_returns_does_not_stop_a_box_without_a_hub(tmp_path: Path) -> None:
    """In a network of its own, whose loopback comes up while the box waits for nothing."""
    data = tmp_path / "box"
    command: list[str | Path] = ["unshare", "--net", BIN / "operis-box", "run", "--data", data]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            wait_until("ready", lambda: "ready" in process.stderr.readline())  # type: ignore[union-attr]
            network = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "ip"]
            subprocess.run([*network, "link", "set", "lo", "up"], check=True)
            subprocess.run([*network, "addr", "add", "127.0.0.9/8", "dev", "lo"], check=True)
            status = run("status", "--json", "--data", data)
            assert status.returncode == 0, status.stderr
            assert json.loads(status.stdout)["link"]["state"] == "local"
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LIMIT_S)
            process.kill()
    assert process.returncode == 0


def test_its_log_says_what_happened_a_line_each_and_no_secret(plant: Plant) -> None:
    token = plant.token()
    box = plant.new_box("logged")
    box.start("--enrol", token)
    plant.wait_status("logged", "connected")
    body = {"kind": "bash.exec", "command": "echo", "env": {"KEY": "value-9876-secret"}, "stdin": "stdin-5432-secret"}
    plant.api().post("boxes/logged/tasks?wait_s=20", body)
    box.stop()
    said = box.said()
    for word in ("operis-box ready", "enrolled", "connected", "stopping"):
        assert word in said
    for secret in (token, "value-9876-secret", "stdin-5432-secret"):
        assert secret not in said
    assert all(line[:4].isdigit() for line in said.splitlines())
    assert socket.gethostname() is not None
    assert tasks_of(box) == [("succeeded", "")]

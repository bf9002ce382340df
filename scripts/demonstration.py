"""What `scripts/run` does: a hub, a box and real tasks on this machine, then both stay until Ctrl-C.

Everything lives in .run/demonstration of the checkout and is used again at the next call.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3

CHECKOUT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = CHECKOUT / ".run" / "demonstration"
BIN: Final = Path(sys.executable).parent
BOX: Final = "box-1"
START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 25.0
TASKS: Final = (
    ("which machine", "uname -a"),
    ("memory", "free -h"),
    ("disk", "df -h /"),
    ("top processes", "ps -eo pid,comm,%cpu,%mem --sort=-%cpu | head -6"),
)
# What someone does who looks at the hub's page: the key is a secret of the box, and no part of the task.
LOOK: Final = (
    {"action": "fill", "selector": "#key", "text": "{{secret:demonstration}}", "name": "give the key"},
    {"action": "click", "selector": "text=Show"},
    {"action": "wait_for", "selector": "#tasks tr >> nth=0"},
    {"action": "table", "selector": "section:has(#boxes) table", "name": "boxes"},
)
LIVE: Final = 'for i in 1 2 3 4 5; do echo "second $i of 5"; sleep 1; done'


class Failed(Exception):
    """The demonstration cannot go on; the text says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration; 0 after Ctrl-C, 1 where something failed."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="A hub, a box and real tasks on this machine.")
    parser.add_argument("--once", action="store_true", help="end after the tasks instead of waiting for Ctrl-C")
    parser.add_argument("url", nargs="?", metavar="URL", help="a page for the browser task (the hub's own)")
    options = parser.parse_args(arguments)
    try:
        with interrupts(), hub() as (relay, web):
            key = api_key()
            with box(relay, web, key):
                wait_for_box(web, key)
                show_tasks(web, key)
                show_browser_task(web, key, options.url)
                show_addresses(relay, web, key)
                if not options.once:
                    signal.pause()
    except KeyboardInterrupt:
        print("\nstopped: no process is left")
    except Failed as failure:
        print(f"scripts/run: {failure}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does, so that nothing is left behind."""

    def interrupt(_: int, __: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    yield


@contextmanager
def program(
    name: str, *arguments: str, ready: str, end_by: signal.Signals, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A program of ours in a group of its own, so that Ctrl-C reaches only us and we end it in order."""
    log = FOLDER / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / name, *arguments],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=os.environ | (env or {}),
            process_group=0,
        )
    try:
        until = time.monotonic() + START_LIMIT_S
        while ready not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{name} did not start; it says:\n{log.read_text(errors='replace').rstrip()}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(end_by)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def hub() -> Iterator[tuple[str, str]]:
    """A hub; its relay's and its web port's HOST:PORT."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    relay, web = free_address(8443), free_address(8080)
    flags = ("serve", "--data", str(FOLDER / "hub"), "--relay", relay, "--web", web)
    with program("operis-hub", *flags, ready="operis-hub ready", end_by=signal.SIGTERM):
        yield relay, web


@contextmanager
def box(relay: str, web: str, key: str) -> Iterator[None]:
    """A box that is enrolled at the hub, and may use the key in its browser tasks."""
    flags = ["run", "--data", str(FOLDER / "box"), "--hub", f"ws://{relay}/relay", "--web", f"http://{web}"]
    if not (FOLDER / "enrolled").exists():
        flags += ["--name", BOX, "--enrol", admin("token", "add", "--customer", "demonstration").strip()]
    # SIGINT ends the box's tasks too; after SIGTERM they would go on, as they should at a real box.
    secrets = {"OPERIS_BOX_SECRETS": json.dumps({"demonstration": key})}
    with program("operis-box", *flags, ready="operis-box ready", end_by=signal.SIGINT, env=secrets):
        yield


def admin(*command: str) -> str:
    """What an admin command of the hub prints."""
    done = subprocess.run(
        [BIN / "operis-hub", *command, "--data", FOLDER / "hub"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"operis-hub {' '.join(command[:2])}: {done.stderr.strip()}")
    return done.stdout


def api_key() -> str:
    """An operator's API key, kept for the next call."""
    if "demonstration" not in admin("customer", "list"):
        admin("customer", "add", "demonstration")
    file = FOLDER / "operator.key"
    if not file.exists():
        key = admin("key", "add", "--customer", "demonstration", "--role", "operator").strip()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, key.encode())
        os.close(descriptor)
    return file.read_text()


def free_address(port: int) -> str:
    """127.0.0.1 with this port where it is free, else with another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            print(f"port {port} is taken, using {probe.getsockname()[1]}")
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ask(web: str, key: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that the API answers."""
    answer = urllib3.request(
        method, f"http://{web}/api/v1/{path}", headers={"Authorization": f"Bearer {key}"}, json=body, timeout=60
    )
    if answer.status >= 400:
        raise Failed(f"{method} {path}: {answer.status} {answer.data.decode(errors='replace')}")
    return answer.json()


def wait_for_box(web: str, key: str) -> None:
    """Until the box is in session."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        items = ask(web, key, "GET", "boxes?status=connected")["items"]
        if any(one["id"] == BOX for one in items):
            (FOLDER / "enrolled").touch()
            return
        time.sleep(0.1)
    raise Failed(f"{BOX} did not connect; it says:\n{(FOLDER / 'operis-box.log').read_text(errors='replace').rstrip()}")


def show_tasks(web: str, key: str) -> None:
    """Run each task and show what came of it and where its time went."""
    for title, command in TASKS:
        print(f"\n── {title}: operis run {BOX} -- '{command}'", flush=True)
        task = ask(web, key, "POST", f"boxes/{BOX}/tasks?wait_s=30", {"kind": "bash.exec", "command": command})
        print(task["stdout"] + task["stderr"], end="")
        show_times(task)
    print(f"\n── five seconds, output as it comes: operis run {BOX} -- '{LIVE}'", flush=True)
    operis(web, key, "run", BOX, "--", LIVE)
    show_times(ask(web, key, "GET", f"boxes/{BOX}/tasks?limit=1")["items"][0])


def show_browser_task(web: str, key: str, url: str | None) -> None:
    """Open a page in the box's browser and keep a picture of it; at the hub's own page, look at the boxes there."""
    page = url or f"http://{web}/"
    picture = FOLDER / "screenshot.png"
    words = ["browse", BOX, page, "--allow", urlsplit(page).hostname or "", "--screenshot", str(picture)]
    steps = "" if url else json.dumps(LOOK)
    print(
        f"\n── a page in the browser of the box: operis {' '.join(words)}{' --steps FILE' if steps else ''}", flush=True
    )
    operis(web, key, *words, *(["--steps", "-"] if steps else []), given=steps)
    show_times(ask(web, key, "GET", f"boxes/{BOX}/tasks?limit=1")["items"][0])


def operis(web: str, key: str, *words: str, given: str = "") -> None:
    """Run the operator's command on this terminal."""
    environment = os.environ | {"OPERIS_HUB": f"http://{web}", "OPERIS_KEY": key}
    done = subprocess.run([BIN / "operis", *words], env=environment, input=given.encode(), check=False)
    if done.returncode:
        raise Failed(f"operis {words[0]} ended with {done.returncode}")


def show_times(task: dict[str, Any]) -> None:
    """One line: the state, and the milliseconds between the stations of a task's life."""
    stations = ("created_at", "delivered_at", "started_at", "ended_at", "synced_at")
    names = ("delivered", "started", "ended", "in the ledger")
    times = [datetime.fromisoformat(task[station]) for station in stations if task[station]]
    if len(times) < len(stations):
        raise Failed(f"task {task['id']} is {task['state']}: {task['error']}")
    steps = [
        f"{name} +{(after - before).total_seconds() * 1000:.0f} ms"
        for name, before, after in zip(names, times, times[1:], strict=False)
    ]
    code = "" if task["exit_code"] is None else f", exit {task['exit_code']}"
    print(f"   {task['state']}{code}: queued, {', '.join(steps)}", flush=True)


def show_addresses(relay: str, web: str, key: str) -> None:
    """Where everything is, and how to go on."""
    print(f"""
hub page      http://{web}/#key={key}
API           http://{web}/api/v1, described at http://{web}/openapi.json, metrics at http://{web}/metrics
relay         ws://{relay}/relay
logs          {FOLDER}/operis-hub.log and operis-box.log
screenshot    {FOLDER}/screenshot.png

Go on in another terminal:
  export OPERIS_HUB=http://{web} OPERIS_KEY={key} PATH={BIN}:$PATH
  operis boxes
  operis run {BOX} -- 'echo hello from $(hostname)'
  operis browse {BOX} https://example.com --screenshot example.png
  operis tasks
  operis-box exec --data {FOLDER / "box"} -- 'echo hello without the hub'
  operis-box status --data {FOLDER / "box"}

Ctrl-C ends both.""")


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))

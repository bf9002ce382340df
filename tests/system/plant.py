"""A whole Operis on this machine: one hub and any number of boxes as real processes, in a folder of their own."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pysqlite3.dbapi2 as sqlite3

from appliance import spawn
from appliance.spawner import records
from cloudsync.task import FINAL
from tests.system.api import Api
from tests.system.program import BIN, LIMIT_S, Program, wait_until

CUSTOMER: Final = "acme"
# Whoever asks waits no longer for an end than a task may take at most here.
END_LIMIT_S: Final = 60.0


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_rows(
    database: Path, query: str, values: tuple[object, ...] = (), *, busy_limit_s: float = LIMIT_S
) -> list[Any]:
    """Rows of a database that another process works in; each can be read by column name."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=busy_limit_s)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


class HubProgram(Program):
    """`operis-hub serve`, on the same ports and folder at each start."""

    def __init__(self, folder: Path) -> None:
        super().__init__("operis-hub", folder / "hub.log", "operis-hub ready")
        self.data = folder / "hub"
        self.database = self.data / "hub.db"
        self.relay = f"127.0.0.1:{free_port()}"
        self.web = f"127.0.0.1:{free_port()}"

    def start(self, *, ready: bool = True) -> None:
        """Serve; returns when it is ready, or at once."""
        self.launch(["serve", "--data", str(self.data), "--relay", self.relay, "--web", self.web])
        if ready:
            self.wait_ready()

    def command(self, *arguments: str) -> str:
        """What an admin command prints; AssertionError where it fails."""
        done = subprocess.run(
            [BIN / "operis-hub", *arguments, "--data", self.data], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"operis-hub {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


class BoxProgram(Program):
    """`operis-box run` in one data folder, with what lives beside the daemon: spawner and tasks."""

    def __init__(self, data: Path, name: str, flags: tuple[str, ...], env: Mapping[str, str]) -> None:
        super().__init__("operis-box", data.with_suffix(".log"), "operis-box ready")
        self.data = data
        self.id = name
        """What the hub calls it, unless that name was taken."""
        self.journal = data / "journal.db"
        self._flags = flags
        self._env = env

    def start(self, *more: str, ready: bool = True) -> None:
        """Run the daemon with these flags beside those of its plant; returns when it is ready, or at once."""
        self.launch(["run", "--data", str(self.data), *self._flags, *more], self._env)
        if ready:
            self.wait_ready()

    def status(self) -> Any:
        """What `operis-box status --json` prints."""
        done = subprocess.run(
            [BIN / "operis-box", "status", "--json", "--data", self.data], capture_output=True, text=True, check=False
        )
        assert done.returncode in {0, 3}, f"operis-box status: {done.stderr}"
        return json.loads(done.stdout)

    @property
    def spawner_pid(self) -> int | None:
        """The living spawner of this folder."""
        try:
            pid = int((self.data / records.LOCK_NAME).read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.data.resolve()) in words else None

    def attempts(self) -> list[Path]:
        """The folders of attempts that are there now."""
        return sorted((self.data / "attempts").iterdir()) if (self.data / "attempts").exists() else []

    def kill_spawner(self) -> None:
        """SIGKILL the spawner, and wait for its end."""
        pid = wait_until("a spawner", lambda: self.spawner_pid)
        os.kill(pid, signal.SIGKILL)
        wait_until("the end of the spawner", lambda: self.spawner_pid != pid)

    def end(self) -> None:
        """End everything of this box at once: daemon, spawner, tasks."""
        self.kill()
        if (pid := self.spawner_pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_until("the end of the spawner", lambda: self.spawner_pid is None)
        for folder in [*self.attempts(), *self.data.glob("browser/runners/*")]:
            spawn.kill_leftovers(folder / "started", folder.name)


class Plant:
    """One hub with one customer, and its boxes. Nothing runs until it is started; `close` ends all that does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.hub = HubProgram(folder)
        self.boxes: list[BoxProgram] = []
        self._apis: dict[str, Api] = {}

    @property
    def url(self) -> str:
        """The hub's web address."""
        return f"http://{self.hub.web}"

    @property
    def relay_url(self) -> str:
        """The hub's relay address."""
        return f"ws://{self.hub.relay}/relay"

    def start_hub(self) -> None:
        """Start the hub and, the first time, add the customer."""
        self.hub.start()
        if CUSTOMER not in [one["name"] for one in self.platform.items("customers")]:
            self.platform.post("customers", {"name": CUSTOMER, "plan": "enterprise"})

    # Keys

    @property
    def platform(self) -> Api:
        """The API with the platform admin's key."""
        if "platform" not in self._apis:
            self._apis["platform"] = Api(self.url, (self.hub.data / "admin.key").read_text().strip())
        return self._apis["platform"]

    def api(self, role: str = "operator", customer: str = CUSTOMER) -> Api:
        """The API with a key of this role and customer, made at the first call."""
        name = f"{customer}.{role}"
        if name not in self._apis:
            key = self.platform.post("keys", {"customer": customer, "role": role})["key"]
            self._apis[name] = Api(self.url, key)
        return self._apis[name]

    def token(self, customer: str = CUSTOMER, **fields: object) -> str:
        """An enrolment token; `fields` as the API takes them (`uses`, `ttl_s`, `box_id`)."""
        token: str = self.platform.post("tokens", {"customer": customer, **fields})["token"]
        return token

    # Boxes

    def new_box(self, name: str = "box-1", *flags: str, env: Mapping[str, str] | None = None) -> BoxProgram:
        """A box that is not started yet; its first `start("--enrol", plant.token())` enrols it."""
        told = ("--hub", self.relay_url, "--web", self.url, "--name", name, *flags)
        # Most tests want no browser, and many boxes at a time.
        box = BoxProgram(self.folder / name, name, told, {"OPERIS_BOX_BROWSER": "lazy", **(env or {})})
        self.boxes.append(box)
        return box

    def start_box(self, name: str = "box-1", *flags: str, env: Mapping[str, str] | None = None) -> BoxProgram:
        """A box that is enrolled and connected."""
        box = self.new_box(name, *flags, env=env)
        box.start("--enrol", self.token())
        self.wait_status(name, "connected")
        return box

    def wait_status(self, box_id: str, status: str, limit_s: float = LIMIT_S) -> Any:
        """Until the hub says this of a box, by the API's words; the box as the API shows it."""

        def look() -> Any:
            answer = self.api("admin").ask("GET", f"boxes/{box_id}")
            return answer.json if answer.status == 200 and answer.json["status"] == status else None

        return wait_until(f"box {box_id} is {status}", look, limit_s)

    # Tasks

    def wait_task(self, task_id: str, *states: str, limit_s: float = END_LIMIT_S) -> Any:
        """Until a task is in one of these states, or in any final one where none is named; the task."""
        wanted = states or tuple(str(state) for state in FINAL)

        def look() -> Any:
            task = self.api().get(f"tasks/{task_id}")
            return task if task["state"] in wanted else None

        return wait_until(f"task {task_id} is {' or '.join(wanted)}", look, limit_s)

    # The end

    def logs(self) -> str:
        """The end of each program's log."""
        programs: list[Program] = [self.hub, *self.boxes]
        return "\n".join(f"── {one.log.name}\n{one.log_tail()}" for one in programs)

    def close(self) -> None:
        """End every process of the plant."""
        for box in self.boxes:
            box.end()
        self.hub.kill()
        for api in self._apis.values():
            api.close()


def wait_file(path: Path, limit_s: float = LIMIT_S) -> str:
    """Until a task has written something to a file; what is in it."""
    return wait_until(f"something in {path}", lambda: (path.read_text() or None) if path.exists() else None, limit_s)

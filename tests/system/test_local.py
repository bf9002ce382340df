"""A box without its hub: what its owner does there works, and is in the ledger when the link is back."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.system.command import Done, call
from tests.system.conftest import opened
from tests.system.gate import Gate
from tests.system.hurried import HURRY
from tests.system.plant import BoxProgram, Plant, read_rows
from tests.system.program import ROOT, wait_until

HALF_HOUR_S: Final = 1800.0
PAGE: Final = "<h1>A page of the site</h1>"


class HurriedBox(BoxProgram):
    """A box whose time can run faster."""

    def launch(self, arguments: Any, env: Any = None) -> None:
        """Start `tests.system.hurried` instead of the command: as it, but for the clock of its loop."""
        flags = dict(zip(arguments[3::2], arguments[4::2], strict=True))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.system.hurried",
                    str(self.data),
                    *(f"{name.removeprefix('--')}={value}" for name, value in flags.items()),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                process_group=0,
            )

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass in it."""
        self.send(signal.SIGUSR1)
        time.sleep(seconds / HURRY)
        self.send(signal.SIGUSR2)


class Scene:
    """A hub, a box behind two gates, and a site that stands on the box's machine."""

    def __init__(self, plant: Plant, relay: Gate, web: Gate, site: str) -> None:
        self.plant = plant
        self.relay = relay
        self.web = web
        self.site = site
        flags = ("--hub", f"ws://{relay.address}/relay", "--web", f"http://{web.address}", "--name", "box-1")
        self.box = HurriedBox(plant.folder / "box-1", "box-1", flags, {})
        plant.boxes.append(self.box)

    def __call__(self, command: str, *words: str) -> Done:
        """Run `operis-box` on the box."""
        return call("operis-box", command, "--data", str(self.box.data), *words)

    def link(self) -> str:
        """What the box says of its link."""
        return str(self.box.status()["link"]["state"])

    def local(self) -> dict[str, Any]:
        """All tasks as the box has them, by id."""
        items = json.loads(self("tasks", "--all", "--json").out)["items"]
        return {task["id"]: task for task in items}


@pytest.fixture
def scene() -> Iterator[Scene]:
    """The box is enrolled and connected."""
    with ExitStack() as stack:
        plant = stack.enter_context(opened("local"))
        plant.start_hub()
        relay, web = Gate(plant.hub.relay), Gate(plant.hub.web)
        stack.callback(relay.close)
        stack.callback(web.close)
        site = plant.folder / "site"
        site.mkdir()
        (site / "index.html").write_text(PAGE)
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(site)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(server.communicate)
        stack.callback(server.kill)
        assert server.stdout is not None
        port = server.stdout.readline().split(b" port ")[1].split()[0].decode()
        scene = Scene(plant, relay, web, f"http://127.0.0.1:{port}/")
        scene.box.start("--enrol", plant.token())
        plant.wait_status("box-1", "connected")
        yield scene


def test_what_was_done_in_an_hour_without_a_link_is_in_the_ledger_outcomes_first(scene: Scene, tmp_path: Path) -> None:
    with_link = scene("exec", "--detach", "--", "echo with a link").text.strip()
    scene.plant.wait_task(with_link)
    scene.relay.cut()
    scene.web.cut()
    wait_until("a box that has no link", lambda: scene.link() != "connected")

    def work(part: str) -> None:
        assert scene("exec", "--", f"echo {part}; exit 3").status == 3
        assert scene("exec", "--", "head -c 500000 /dev/urandom").status == 0
        picture = tmp_path / f"{part}.png"
        done = scene("browse", scene.site, "--allow", "127.0.0.1", "--screenshot", str(picture))
        assert (done.status, done.err) == (0, "")
        assert picture.read_bytes().startswith(b"\x89PNG")

    work("first")
    for part in ("second", "third"):
        before = scene.relay.refused
        scene.box.pass_time(HALF_HOUR_S)
        # Between a minute at most from one to the next, and half of it on average.
        assert HALF_HOUR_S / 60 * 0.5 <= scene.relay.refused - before <= HALF_HOUR_S / 60 * 6
        work(part)
    there = scene.local()
    assert len(there) == 10
    made_offline = there.keys() - {with_link}
    assert len(scene.plant.api().items("tasks")) == 1

    scene.relay.open()
    scene.web.open()
    scene.box.pass_time(60)  # the longest pause between two attempts
    scene.plant.wait_status("box-1", "connected")
    wait_until("all tasks at the hub", lambda: len(scene.plant.api().items("tasks")) == len(there))
    tasks = {task_id: scene.plant.wait_task(task_id) for task_id in made_offline}
    for task_id, task in tasks.items():
        own = there[task_id]
        assert (task["origin"], task["created_by"], task["box_id"]) == ("local", own["created_by"], "box-1")
        for field in ("spec", "state", "exit_code", "stdout", "result", "error", "attempt"):
            assert task[field] == own[field], field
        assert [one["sha256"] for one in task["artifacts"]] == [one["sha256"] for one in own["artifacts"]]

    def all_stored() -> bool:
        shown = [scene.plant.api().get(f"tasks/{task_id}") for task_id in made_offline]
        return all(one["state"] == "stored" for task in shown for one in task["artifacts"])

    wait_until("all artifacts at the hub", all_stored)
    picture = next(one for task in tasks.values() for one in task["artifacts"] if one["name"].endswith(".png"))
    data = scene.plant.api().ask("GET", f"artifacts/{picture['id']}").data
    assert hashlib.sha256(data).hexdigest() == picture["sha256"]
    assert len([one for task in tasks.values() for one in task["artifacts"]]) == 6
    ((last_outcome,),) = read_rows(scene.plant.hub.database, "SELECT max(synced_at) FROM tasks WHERE origin = 'local'")
    ((first_artifact,),) = read_rows(scene.plant.hub.database, "SELECT min(stored_at) FROM blobs")
    assert first_artifact >= last_outcome
    assert all(task["synced"] for task in scene.local().values())


def test_a_box_that_its_hub_has_shut_out_still_works_for_its_owner(scene: Scene) -> None:
    scene.plant.api("admin").post("boxes/box-1/revoke")
    wait_until("a box that is unwanted", lambda: scene.link() == "unwanted")
    done = scene("exec", "--", "echo still here")
    assert (done.status, done.out) == (0, b"still here\n")

"""What tasks leave comes to the hub whole or not at all, whatever is killed, cut or full meanwhile."""

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests.system.plant import CUSTOMER, BoxProgram, Plant, read_rows
from tests.system.poor_link import PoorLink
from tests.system.program import BIN, wait_until

KILLS = 60
# More than an outcome holds, and a second or so on the poor link.
SIZE = 1_500_000
RATE = 2_000_000
# The task says itself what its output was: nothing of ours has a hand in that.
SCRIPT = f"head -c {SIZE} /dev/urandom > $HOME/out.$$; cat $HOME/out.$$; sha256sum < $HOME/out.$$ >&2; rm $HOME/out.$$"
SETTLE_S = 60.0


class Evidence:
    """A plant whose box reaches the hub's web port over a poor link."""

    def __init__(self, plant: Plant, link: PoorLink) -> None:
        self.plant = plant
        self.link = link
        self.box: BoxProgram = plant.new_box("box-1", "--web", f"http://{link.place}")

    def start(self) -> None:
        """Connect."""
        self.box.start("--enrol", self.plant.token())
        self.plant.wait_status("box-1", "connected")

    @property
    def files(self) -> Path:
        """Where the hub keeps the files."""
        return self.plant.hub.data / "artifacts"

    def make(self) -> str:
        """A task that leaves a file; its id."""
        task_id: str = self.plant.api().run("box-1", SCRIPT, idempotent=True)["id"]
        return task_id

    def is_under_way(self) -> bool:
        """Whether a file is coming in: some of it is here, and not all."""
        return any(0 < path.stat().st_size < SIZE for path in self.files.glob("*/partial/*") if path.exists())

    def check_files(self) -> int:
        """Each file at its place, on the hub and on the box, is what its name says; how many there are."""
        count = 0
        for path in [*self.files.glob("*/??/*"), *(self.box.data / "artifacts").glob("[0-9a-f]*")]:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            assert hashlib.sha256(content).hexdigest() == path.name
            count += 1
        return count

    def until_settled(self, task_id: str) -> list[Any]:
        """Until everything that a task left is stored or lost."""

        def look() -> list[Any] | None:
            found: list[Any] = self.plant.api().get(f"tasks/{task_id}/artifacts")["items"]
            return found if all(one["state"] != "pending" for one in found) else None

        return wait_until(f"what {task_id} left is settled", look, SETTLE_S)

    def check_task(self, task_id: str) -> None:
        """A task's file is here, and is what the task itself says that it wrote."""
        task = self.plant.wait_task(task_id)
        assert task["state"] == "succeeded", task["error"]
        (left,) = self.until_settled(task_id)
        assert (left["state"], left["size_bytes"], left["name"]) == ("stored", SIZE, "stdout.txt"), left
        content = self.plant.api().ask("GET", f"artifacts/{left['id']}").data
        assert hashlib.sha256(content).hexdigest() == left["sha256"] == task["stderr"].split()[0]
        assert self.plant.api().ask("GET", f"tasks/{task_id}/output").data == content


@pytest.fixture
def evidence(bare_plant: Plant) -> Iterator[Evidence]:
    """A hub that runs, a poor link to it, and a box that is not started."""
    bare_plant.start_hub()
    with PoorLink(bare_plant.hub.web) as link:
        yield Evidence(bare_plant, link)


@pytest.mark.timeout(900)
def test_kills_in_the_midst_of_uploads_leave_every_file_whole_or_absent(evidence: Evidence) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    evidence.link.rate = RATE
    evidence.start()
    plant, box = evidence.plant, evidence.box
    tasks: list[str] = []
    in_midst = 0
    for number in range(KILLS):
        is_hub = number % 2 == 0
        tasks.append(evidence.make())
        if is_hub or chance.random() < 0.5:
            wait_until("an upload is under way", evidence.is_under_way, SETTLE_S)
        time.sleep(chance.uniform(0.0, 0.3))
        in_midst += evidence.is_under_way()
        if is_hub:
            plant.hub.kill()
            evidence.check_files()
            plant.hub.start()
        else:
            box.kill()
            evidence.check_files()
            box.start()
        if number % 4 == 3:
            plant.wait_status("box-1", "connected", SETTLE_S)
    assert in_midst >= KILLS // 3, f"seed {seed}: only {in_midst} of {KILLS} kills hit an upload"
    evidence.link.rate = None
    box.stop()
    box.start()
    for task_id in tasks:
        evidence.check_task(task_id)
    assert evidence.check_files() == 2 * KILLS
    assert list(evidence.files.glob("*/partial/*")) == []
    states = read_rows(box.journal, "SELECT state, count(*) AS count FROM artifacts GROUP BY state")
    assert [tuple(row) for row in states] == [("stored", KILLS)]


def test_a_link_that_is_cut_after_every_piece_brings_all_of_it(evidence: Evidence) -> None:
    evidence.link.cut_after = 120_000
    evidence.start()
    evidence.check_task(evidence.make())
    assert evidence.link.cuts >= SIZE // 200_000


def test_a_hub_without_room_keeps_them_waiting_on_the_box_and_takes_them_when_it_has(evidence: Evidence) -> None:
    evidence.files.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(evidence.files)]
    subprocess.run(mount, check=True)
    try:
        evidence.start()
        task_id = evidence.make()
        evidence.plant.wait_task(task_id)
        wait_until("the box says why", lambda: "disk" in evidence.box.said() and "not sent yet" in evidence.box.said())
        (left,) = evidence.plant.api().get(f"tasks/{task_id}/artifacts")["items"]
        assert left["state"] == "pending"
        answer = evidence.plant.api().ask("GET", f"artifacts/{left['id']}")
        assert (answer.status, answer.json["code"]) == (409, "pending")
        subprocess.run(["mount", "-o", "remount,size=300m", str(evidence.files)], check=True)
        evidence.check_task(task_id)
    finally:
        evidence.plant.hub.kill()
        subprocess.run(["umount", "-l", str(evidence.files)], check=True)


def test_a_hub_that_was_restored_gets_again_what_it_lost(evidence: Evidence) -> None:
    evidence.start()
    plant = evidence.plant
    first = evidence.make()
    evidence.check_task(first)
    plant.hub.stop()
    backup = plant.folder / "backup"
    shutil.copytree(plant.hub.data, backup)
    plant.hub.start()
    plant.wait_status("box-1", "connected")
    second = evidence.make()
    evidence.check_task(second)
    plant.hub.stop()
    shutil.rmtree(plant.hub.data)
    backup.rename(plant.hub.data)
    plant.hub.start()
    plant.wait_status("box-1", "connected")
    for task_id in (first, second):
        evidence.check_task(task_id)


def test_what_has_no_room_on_the_box_is_lost_and_the_hub_says_why(bare_plant: Plant) -> None:
    bare_plant.start_hub()
    bare_plant.start_box("box-1", env={"OPERIS_BOX_ARTIFACT_LIMIT_MIB": "1"})
    task_id = bare_plant.api().run("box-1", f"head -c {SIZE} /dev/zero")["id"]
    bare_plant.wait_task(task_id)

    def lost() -> Any:
        (left,) = bare_plant.api().get(f"tasks/{task_id}")["artifacts"]
        return left if left["state"] != "pending" else None

    left = wait_until("it is lost", lost)
    assert (left["state"], left["size_bytes"]) == ("lost", SIZE)
    assert "larger than the 1 MiB" in left["why"]
    answer = bare_plant.api().ask("GET", f"artifacts/{left['id']}")
    assert (answer.status, answer.json["code"]) == (410, "lost")


def test_an_operator_fetches_what_a_task_left(evidence: Evidence) -> None:
    evidence.link.rate = RATE
    evidence.start()
    task_id = evidence.make()
    folder = evidence.plant.folder / "fetched"
    env = {"OPERIS_HUB": evidence.plant.url, "OPERIS_KEY": str(evidence.plant.api().key), "PATH": "/bin"}
    task = evidence.plant.wait_task(task_id)
    fetch = [str(BIN / "operis"), "task", task_id, "--artifacts", str(folder), "--wait", "30"]
    done = subprocess.run(fetch, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    content = (folder / "stdout.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == task["stderr"].split()[0]
    logs = [str(BIN / "operis"), "logs", task_id, "--stream", "stdout"]
    assert subprocess.run(logs, env=env, capture_output=True, check=True, timeout=60).stdout == content


def test_another_customers_key_reads_nothing_of_it(evidence: Evidence) -> None:
    evidence.start()
    task_id = evidence.make()
    (left,) = evidence.until_settled(evidence.plant.wait_task(task_id)["id"])
    evidence.plant.platform.post("customers", {"name": "other"})
    theirs = evidence.plant.api("admin", "other")
    for path in (f"tasks/{task_id}/artifacts", f"artifacts/{left['id']}", f"tasks/{task_id}/output"):
        assert theirs.ask("GET", path).status == 404
    assert theirs.ask("POST", f"artifacts/{left['id']}/link", {}).status == 404
    assert CUSTOMER not in theirs.ask("GET", f"artifacts/{left['id']}").data.decode()


def test_what_a_browser_task_kept_opens_in_a_browser_by_a_link(hub_plant: Plant) -> None:
    hub_plant.start_box("box-1")
    steps = [{"action": "goto", "url": f"{hub_plant.url}/"}, {"action": "screenshot", "name": "shot.png"}]
    body = {"kind": "browser.run", "allow": ["127.0.0.1"], "trace": True, "steps": steps}
    task = hub_plant.api().post("boxes/box-1/tasks?wait_s=60", body, limit_s=90)
    assert task["state"] == "succeeded", task["error"]

    def stored() -> dict[str, Any] | None:
        found = hub_plant.api().get(f"tasks/{task['id']}/artifacts")["items"]
        return {one["name"]: one for one in found} if all(one["state"] == "stored" for one in found) else None

    left = wait_until("all is stored", stored)
    assert set(left) == {"shot.png", "trace.zip"}
    env = {"OPERIS_HUB": hub_plant.url, "OPERIS_KEY": str(hub_plant.api("viewer").key), "PATH": "/bin"}
    links = {
        name: subprocess.run(
            [BIN / "operis", "link", one["id"]], env=env, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        for name, one in left.items()
    }
    with sync_playwright() as playwright:
        program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(links["trace.zip"])
            page.get_by_text("Navigate").first.click(timeout=20_000)
            page.frame_locator("iframe.snapshot-visible").get_by_text("API key").first.wait_for(timeout=20_000)
            page.goto(links["shot.png"])
            assert page.evaluate("document.images[0].naturalWidth") > 100
        finally:
            browser.close()

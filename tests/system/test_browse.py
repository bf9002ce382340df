"""`operis browse` against a real hub and a real box with a real browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.command import Operator
from tests.system.conftest import opened
from tests.system.plant import Plant
from tests.system.shop import Shop


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    """A hub, and a box with a browser."""
    with opened("browse") as plant:
        plant.start_hub()
        plant.start_box(env={"OPERIS_BOX_BROWSER": "auto"})
        yield plant


@pytest.fixture
def site() -> Iterator[Shop]:
    """The shop."""
    with ExitStack() as stack:
        site = Shop()
        stack.callback(site.close)
        yield site


@pytest.fixture
def operator(plant: Plant) -> Operator:
    """Someone with a key."""
    return Operator(plant)


def test_page_is_seen_and_its_picture_paper_and_trace_lie_where_they_were_asked_for(
    operator: Operator, site: Shop, tmp_path: Path
) -> None:
    files = {
        flag: tmp_path / name for flag, name in (("--screenshot", "a.jpg"), ("--pdf", "a.pdf"), ("--trace", "t.zip"))
    }
    steps = tmp_path / "steps.yaml"
    steps.write_text(
        """
        - {action: title, save_as: was}
        - {action: fill, selector: "#q", text: "{{was}} closed"}
        - {action: click, selector: button}
        - {action: title, name: what it is now}
        """
    )
    words = [word for flag, path in files.items() for word in (flag, str(path))]
    done = operator("browse", "box-1", site.url, "--allow", "127.0.0.1", "--steps", str(steps), *words)
    assert (done.status, done.err) == (0, "")
    marks = [line.split()[:3] for line in done.text.splitlines()[:7]]
    assert [(mark, number) for mark, number, _ in marks] == [("✓", str(number)) for number in range(1, 8)]
    assert "7 pdf" in done.text
    assert "2 title: Shop\n5 what it is now: Shop closed\n" in done.text
    heads = [path.read_bytes()[:4] for path in files.values()]
    assert heads == [b"\xff\xd8\xff\xe0", b"%PDF", b"PK\x03\x04"]


def test_steps_are_told_while_the_task_runs(operator: Operator, site: Shop, tmp_path: Path) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps([{"action": "goto", "url": f"{site.url}slow"}]))
    process = operator.start("browse", "box-1", site.url, "--allow", "127.0.0.1", "--steps", str(steps))
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"✓ 1 goto {site.url}".encode())
    assert site.asked.wait(30)
    site.go.set()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"\xe2\x9c\x93 2 goto")


def test_a_step_that_fails_is_named_and_its_evidence_can_be_fetched(
    operator: Operator, site: Shop, tmp_path: Path
) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps([{"action": "expect", "title": "Bakery", "timeout_s": 0.5}]))
    picture = tmp_path / "a.png"
    flags = ("--allow", "127.0.0.1", "--steps", str(steps), "--screenshot", str(picture))
    done = operator("browse", "box-1", site.url, *flags)
    assert done.status == 1
    assert [line.split()[0] for line in done.text.splitlines()] == ["✓", "✗", "-"]
    assert "step 2 (expect)" in done.err
    assert "Shop" in done.err
    assert not picture.exists()


def test_what_is_not_granted_is_not_reached_and_said(operator: Operator, site: Shop) -> None:
    done = operator("browse", "box-1", site.url)
    assert done.status == 1
    assert "127.0.0.1" in done.err
    assert "allow" in done.err


def test_the_owner_of_the_box_sees_the_hubs_task_and_its_steps(plant: Plant, site: Shop) -> None:
    body = {"kind": "browser.run", "allow": ["127.0.0.1"], "steps": [{"action": "goto", "url": f"{site.url}slow"}]}
    body["steps"] = [{"action": "goto", "url": site.url}, *body["steps"]]
    task = plant.api().post("boxes/box-1/tasks", body)
    assert site.asked.wait(30)
    box = plant.boxes[0]

    def shown(*words: str) -> str:
        command = [sys.executable, "-m", "appliance.cli", *words, "--data", str(box.data)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    text = shown("task", task["id"])
    assert "state    running" in text
    assert f"✓ 1 goto {site.url}" in text
    assert "(hub)" in text
    assert json.loads(shown("task", task["id"], "--json"))["result"]["steps"][0]["action"] == "goto"
    site.go.set()
    assert plant.wait_task(task["id"])["state"] == "succeeded"

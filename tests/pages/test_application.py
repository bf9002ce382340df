"""A real application, used as a person would: by a browser task, with a profile that outlives the box's daemon."""

import base64
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.pages.application import CACHE, USER, Application, ApplicationMissing, install
from tests.system.conftest import opened
from tests.system.plant import Plant
from tests.system.program import wait_until

PASSWORD = "open-sesame-1128"
CONTENT = bytes(range(256)) * 40
STRANGER = "howdy stranger"


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    modules = install()
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as folder:
        application = Application(modules, Path(folder), PASSWORD)
        yield application
        application.close()


@pytest.fixture(scope="module")
def office() -> Iterator[Plant]:
    """A hub and a box that knows the application's password."""
    with opened("office") as plant:
        plant.start_hub()
        plant.start_box(env={"OPERIS_BOX_SECRETS": json.dumps({"files": PASSWORD})})
        yield plant


def run(office: Plant, *steps: dict[str, Any], **fields: Any) -> Any:
    """A browser task on box-1, after its end."""
    body = {"kind": "browser.run", "steps": list(steps), "allow": ["127.0.0.1"], **fields}
    return office.api().post("boxes/box-1/tasks?wait_s=60", body)


def stored(office: Plant, task: dict[str, Any], name: str) -> bytes:
    """An artifact's bytes, once the hub has them."""
    (artifact,) = [one for one in task["artifacts"] if one["name"] == name]

    def look() -> bytes | None:
        answer = office.api().ask("GET", f"artifacts/{artifact['id']}")
        return answer.data if answer.status == 200 else None

    return wait_until(name, look)


def login(application: Application) -> list[dict[str, Any]]:
    """Steps from nothing to being logged in."""
    return [
        {"action": "goto", "url": f"{application.url}/?h"},
        {"action": "expect", "text": STRANGER},
        {"action": "fill", "selector": "#lp", "text": "{{secret:files}}"},
        {"action": "press", "selector": "#lp", "key": "Enter"},
        {"action": "expect", "selector": "#blogout", "value": f"Logout {USER}"},
    ]


def who(application: Application) -> list[dict[str, Any]]:
    """Steps whose last reads how the application greets."""
    return [{"action": "goto", "url": f"{application.url}/?h"}, {"action": "text", "name": "greeting"}]


def is_stranger(task: Any) -> bool:
    """Whether a task of `who` was greeted as nobody."""
    assert task["state"] == "succeeded", task["error"]
    return STRANGER in task["result"]["steps"][-1]["value"]


def test_one_logs_in_makes_a_folder_uploads_downloads_and_logs_out(office: Plant, application: Application) -> None:
    content = base64.b64encode(CONTENT).decode()
    steps = [
        *login(application),
        # A form of the page, which leads into what it made.
        {"action": "expect", "selector": "#op_mkdir", "visible": False},
        {"action": "click", "selector": "#opa_mkd"},
        {"action": "fill", "selector": "#op_mkdir input[name=name]", "text": "reports & more"},
        {"action": "press", "selector": "#op_mkdir input[name=name]", "key": "Enter"},
        {"action": "wait_for", "url": {"regex": "/reports.*more/$"}},
        {"action": "url", "save_as": "folder"},
        {"action": "expect", "selector": "#files tbody tr", "count": 0},
        # A plain form with a file.
        {"action": "click", "selector": "#opa_bup"},
        {
            "action": "set_input_files",
            "selector": "#op_bup input[type=file]",
            "files": [{"name": "plain.bin", "data_b64": content}],
        },
        {"action": "click", "selector": "#op_bup input[type=submit]"},
        {"action": "expect", "text": {"regex": f"OK // {len(CONTENT)} bytes"}},
        # The page's own uploader, which cuts files and hashes them in workers.
        {"action": "goto", "url": "{{folder}}"},
        {"action": "expect", "selector": "#files tbody tr", "count": 1},
        {"action": "click", "selector": "#opa_up"},
        {"action": "set_input_files", "selector": "#file1", "files": [{"name": "cut.bin", "data_b64": content}]},
        {"action": "click", "selector": "#modal-ok"},
        {"action": "expect", "selector": "#files tbody", "text": "cut.bin"},
        {"action": "download", "selector": "#files >> text=plain.bin"},
        {"action": "download", "url": "{{folder}}?zip", "name": "all.zip"},
        {"action": "click", "selector": "#blogout"},
        {"action": "expect", "text": STRANGER},
        {"action": "goto", "url": "{{folder}}"},
        {"action": "expect", "selector": "#files", "visible": False},
    ]
    task = run(office, *steps)
    assert task["state"] == "succeeded", task["error"]
    assert (application.files / "reports & more" / "cut.bin").read_bytes() == CONTENT
    assert (application.files / "reports & more" / "plain.bin").read_bytes() == CONTENT
    (name,) = [step["value"]["file"] for step in task["result"]["steps"] if step["action"] == "download"][:1]
    assert stored(office, task, name) == CONTENT
    with zipfile.ZipFile(io.BytesIO(stored(office, task, "all.zip"))) as archive:
        assert {Path(one.filename).name: archive.read(one) for one in archive.infolist()} == {
            "plain.bin": CONTENT,
            "cut.bin": CONTENT,
        }
    assert PASSWORD not in json.dumps(task)


def test_a_saved_profile_is_still_logged_in_after_the_box_was_killed(office: Plant, application: Application) -> None:
    (box,) = office.boxes
    saved = run(office, *login(application), {"action": "save_profile"}, profile="ann")
    assert saved["state"] == "succeeded", saved["error"]
    box.kill()
    box.start()
    assert not is_stranger(run(office, *who(application), profile="ann"))
    assert is_stranger(run(office, *who(application), profile="other"))
    assert is_stranger(run(office, *who(application)))


def test_a_task_that_fails_saves_nothing_and_leaves_what_was_saved(office: Plant, application: Application) -> None:
    fail = {"action": "expect", "title": "no such title", "timeout_s": 0.5}
    never = run(office, *login(application), {"action": "save_profile"}, fail, profile="failed")
    assert never["state"] == "failed"
    assert is_stranger(run(office, *who(application), profile="failed"))

    assert run(office, *login(application), {"action": "save_profile"}, profile="kept")["state"] == "succeeded"
    forget = {"action": "set_cookies", "cookies": [{"name": "cppwd", "value": "x", "url": application.url}]}
    spoilt = run(office, *who(application), forget, {"action": "save_profile"}, fail, profile="kept")
    assert spoilt["state"] == "failed"
    assert not is_stranger(run(office, *who(application), profile="kept"))


def test_tasks_of_one_profile_run_one_after_the_other(office: Plant, application: Application) -> None:
    count = "localStorage.tasks = Number(localStorage.tasks || 0) + 1"
    steps = [
        {"action": "goto", "url": f"{application.url}/?h"},
        {"action": "evaluate", "expression": count},
        {"action": "wait_for", "milliseconds": 300},
        {"action": "save_profile"},
    ]
    body = {"kind": "browser.run", "steps": steps, "allow": ["127.0.0.1"], "profile": "shared"}
    made = [office.api().post("boxes/box-1/tasks", body)["id"] for _ in range(4)]
    tasks = [office.wait_task(task_id) for task_id in made]
    assert [(task["state"], task["error"]) for task in tasks] == [("succeeded", None)] * 4
    assert [task["result"]["steps"][1]["value"] for task in tasks] == [1, 2, 3, 4]
    assert all(before["ended_at"] <= after["started_at"] for before, after in pairwise(tasks))


def test_an_application_that_cannot_be_installed_says_what_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ApplicationMissing, match="is the network away"):
        install(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["lock"]

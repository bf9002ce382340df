"""Browser tasks of a real box with a real hub: their way there and back, the daemon's death, the sandbox."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.faults.site import Site
from scripts.faults.stalker import runners
from tests.system.api import Api
from tests.system.plant import Plant, read_rows
from tests.system.program import ROOT, wait_until

UNPRIVILEGED = 65534


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def body(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"kind": "browser.run", "steps": list(steps), "allow": ["127.0.0.1"], **fields}


def goto(site: Site, page: str = "home", key: str = "k") -> dict[str, Any]:
    return {"action": "goto", "url": f"{site.url}/{page}/{key}"}


def stored(api: Api, task_id: str, name: str) -> bytes:
    """An artifact's bytes, once the hub has them."""

    def look() -> str | None:
        (found,) = [one for one in api.get(f"tasks/{task_id}/artifacts")["items"] if one["name"] == name]
        return found["id"] if found["state"] == "stored" else None

    return api.ask("GET", f"artifacts/{wait_until(name, look)}").data


def test_a_browser_task_comes_back_through_the_hub_with_values_and_artifacts(plant: Plant, site: Site) -> None:
    steps = (goto(site), {"action": "text", "selector": "#p", "name": "says"}, {"action": "screenshot"})
    task = plant.api().post("boxes/box-1/tasks?wait_s=60", body(*steps))
    assert (task["state"], task["error"], task["kind"]) == ("succeeded", None, "browser.run")
    assert [step["state"] for step in task["result"]["steps"]] == ["succeeded"] * 3
    assert task["result"]["steps"][1] | {"duration_ms": 0} == {
        "action": "text",
        "name": "says",
        "state": "succeeded",
        "value": "text of the page",
        "duration_ms": 0,
        "error": None,
    }
    (artifact,) = task["artifacts"]
    assert (artifact["name"], artifact["media_type"]) == ("03-screenshot.png", "image/png")


def test_a_trace_that_is_asked_for_shows_the_page_at_each_step_and_no_secret(hub_plant: Plant, site: Site) -> None:
    secrets = {"OPERIS_BOX_SECRETS": json.dumps({"PASSWORD": "hunter2hunter2"})}
    box = hub_plant.start_box("traced", env=secrets)
    fill = {"action": "evaluate", "expression": "document.body.append('{{secret:PASSWORD}}')"}
    recorded: dict[bool, list[str]] = {}
    for has_secret in (False, True):
        steps = [goto(site), *([fill] if has_secret else []), {"action": "text", "selector": "#p"}]
        task = hub_plant.api().post(f"boxes/{box.id}/tasks?wait_s=60", body(*steps, trace=True))
        assert (task["state"], task["error"]) == ("succeeded", None)
        with zipfile.ZipFile(io.BytesIO(stored(hub_plant.api(), task["id"], "trace.zip"))) as trace:
            files = {name: trace.read(name) for name in trace.namelist()}
        recorded[has_secret] = list(files)
        events = b"".join(data for name, data in files.items() if name.endswith(".trace"))
        assert b'"type":"frame-snapshot"' in events
        assert b"text of the page" in events
        assert all(b"hunter2" not in data for data in files.values())
    assert [any(name.endswith((".jpeg", ".png")) for name in recorded[key]) for key in (False, True)] == [True, False]


def test_a_box_has_its_browser_ready_soon_after_its_start_and_says_so(hub_plant: Plant) -> None:
    box = hub_plant.start_box("warm", env={"OPERIS_BOX_BROWSER": "auto"})
    status = wait_until("a browser", lambda: (s := box.status())["browser"]["state"] == "ready" and s)
    assert status["browser"]["version"]
    assert status["browser"]["sandbox"] == (os.geteuid() != 0)
    assert any("sandbox is off" in text for text in status["warnings"]) == (os.geteuid() == 0)
    box.stop()
    wait_until("the end of the browser", lambda: not runners(box))


@pytest.mark.parametrize("is_idempotent", [False, True])
def test_a_daemon_that_is_killed_leaves_no_browser_and_the_task_its_steps(
    plant: Plant, site: Site, is_idempotent: bool
) -> None:
    (box,) = plant.boxes
    linger = {"action": "wait_for", "milliseconds": 3000}
    task_id = plant.api().post("boxes/box-1/tasks", body(goto(site), linger, idempotent=is_idempotent))["id"]
    query = "SELECT count(*) AS steps FROM steps"
    wait_until("a step in the journal", lambda: read_rows(box.journal, query)[0]["steps"] > 0)
    (before,) = wait_until("a runner", lambda: runners(box) or None)
    tree = [before, *before.children(recursive=True)]
    box.kill()
    wait_until("the end of the browser", lambda: not [one for one in tree if one.is_running()])
    box.start()
    task = plant.wait_task(task_id)
    if is_idempotent:
        assert (task["state"], task["attempt"], site.visits["k"]) == ("succeeded", 2, 2)
    else:
        assert (task["state"], task["error"]["code"]) == ("interrupted", "browser_lost")
        assert [(step["action"], step["state"]) for step in task["result"]["steps"]] == [
            ("goto", "succeeded"),
            ("wait_for", "failed"),
        ]
        assert task["error"]["message"].endswith("in step 2 (wait_for)")
        assert site.visits["k"] == 1
    assert box.attempts() == []


SANDBOX = """
import asyncio, json, sys
from pathlib import Path
import psutil
from appliance.engine import Engine
from appliance.spawn import read_started
from cloudsync.spec import SPEC

async def main(data: Path) -> None:
    engine = await Engine.open(data)
    spec = SPEC.validate_python({"kind": "browser.run", "steps": [{"action": "wait_for", "milliseconds": 60000}]})
    task_id = await engine.submit(spec)
    supervisor = engine.executor.browsing.supervisor
    while not engine.executor.tasks[task_id].started_boot_s:
        await asyncio.sleep(0.01)
    seccomp = []
    (key,) = supervisor.keys
    record = read_started(data / "browser" / "runners" / key)
    for process in psutil.Process(record.pid).children(recursive=True):
        if "--type=renderer" in process.cmdline():
            text = Path(f"/proc/{process.pid}/status").read_text()
            seccomp += [line.split()[1] for line in text.splitlines() if line.startswith("Seccomp:")]
    print(json.dumps({"seccomp": seccomp, "status": supervisor.status(), "warnings": supervisor.warnings()}))
    engine.executor.cancel(task_id, "")
    await engine.wait(task_id)
    await engine.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_without_root_the_browsers_sandbox_is_on(tmp_path: Path) -> None:
    data = tmp_path / "box"
    command = [sys.executable, "-c", SANDBOX, str(data)]
    if os.geteuid() == 0:
        # The interpreter may lie where root alone can look; to read is all that is kept of root's powers.
        tmp_path.chmod(0o777)
        for parent in tmp_path.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o055)
        who = [f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups"]
        command = ["setpriv", *who, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"]["sandbox"] is True
    assert found["warnings"] == []
    assert found["seccomp"], "no renderer was seen"
    assert set(found["seccomp"]) == {"2"}

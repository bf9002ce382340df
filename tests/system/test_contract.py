"""The real programs against `tests/contract.toml`: what others rely on is there, named as written."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from websockets.sync.client import connect

from appliance.client.box import Box
from cloudsync import spec
from cloudsync.task import Delivery, Origin, TaskState
from hub import tenancy
from hub.api import context, tasks
from hub.settings import HubSettings
from hub.views import Artifact, BoxStatus
from scripts.faults.site import Site
from tests.system.api import Api
from tests.system.conftest import opened
from tests.system.plant import Plant
from tests.system.program import BIN, ROOT, wait_until

CONTRACT: Final[dict[str, Any]] = tomllib.loads((Path(__file__).parents[1] / "contract.toml").read_text("utf-8"))
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# The steps that the contract shows, as it writes them.
STEPS: Final = (
    {"action": "goto", "url": "http://127.0.0.1/"},
    {"action": "click", "selector": "#a"},
    {"action": "fill", "selector": "#a", "text": "b"},
    {"action": "select_option", "selector": "#a", "label": "b"},
    {"action": "select_option", "selector": "#a", "value": "b"},
    {"action": "select_option", "selector": "#a", "index": 1},
    {"action": "evaluate", "expression": "1 + 1", "save_as": "sum", "continue_on_error": True},
    {"action": "text", "selector": "#a", "timeout_s": 3},
    {"action": "fill", "selector": "#a", "text": "{{sum}}"},
    {"action": "screenshot", "full_page": True, "name": "whole"},
)
FIELDS: Final = {name: set(fields) for name, fields in CONTRACT["fields"].items()}


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    """A real hub and a real box, for all tests here."""
    with opened("contract") as plant:
        plant.start_hub()
        plant.start_box("box-1")
        yield plant


def command(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run one of the programs."""
    program, *arguments = words
    return subprocess.run([BIN / program, *arguments], capture_output=True, text=True, check=False, timeout=60, **more)


def operis(plant: Plant, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the operator's command, address and key in its environment."""
    return command("operis", *words, env={"OPERIS_HUB": plant.url, "OPERIS_KEY": str(plant.api().key), "PATH": "/bin"})


@pytest.mark.parametrize(("name", "wanted"), CONTRACT["commands"].items())
def test_command_has_its_flags(name: str, wanted: list[str]) -> None:
    shown = command(*name.split(), "--help")
    assert shown.returncode == 0, shown.stderr
    words = set(re.findall(r"[-\w]+", shown.stdout))
    assert [flag for flag in wanted if flag not in words] == []


def test_defaults_limits_and_words_are_those_written() -> None:
    defaults, limits, states = CONTRACT["defaults"], CONTRACT["limits"], CONTRACT["states"]
    assert (HubSettings.model_fields["relay"].default, HubSettings.model_fields["web"].default) == (
        defaults["relay"],
        defaults["web"],
    )
    bash = spec.BashExec(kind="bash.exec", command="true")
    for name in ("timeout_s", "deliver_within_s", "idempotent"):
        assert getattr(bash, name) == defaults[name]
    assert set(spec.BashExec.model_fields) == FIELDS["bash"]
    browser = spec.BrowserRun.model_validate({"kind": "browser.run", "steps": STEPS})
    assert browser.timeout_s == defaults["browser_timeout_s"]
    assert set(spec.BrowserRun.model_fields) >= FIELDS["browser"]
    assert set(spec.StepResult.model_fields) == FIELDS["step_result"]
    assert (limits["timeout_s"], limits["deliver_within_s"]) == (spec.MAX_TIMEOUT_S, spec.MAX_DELIVER_WITHIN_S)
    assert (defaults["list_limit"], limits["list_limit"]) == (context.LIST_DEFAULT, context.LIST_LIMIT)
    assert limits["wait_s"] == tasks.MAX_WAIT_S
    assert [str(state) for state in TaskState] == states["task"]
    assert [str(word) for word in Delivery] == states["delivery"]
    assert [str(word) for word in Origin] == states["origin"]
    assert list(get_args(BoxStatus)) == states["box"]
    assert [str(role) for role in tenancy.CUSTOMER_ROLES] == states["roles"]
    assert {plan: tenancy.PLAN_BOXES[plan] for plan in CONTRACT["plans"]} == CONTRACT["plans"]


def test_a_browser_task_takes_the_contracts_steps_and_answers_with_its_fields(plant: Plant) -> None:
    site = Site()
    try:
        steps = (
            {"action": "goto", "url": f"{site.url}/home/k"},
            {"action": "text", "selector": "#p", "save_as": "it"},
            {"action": "screenshot", "full_page": True},
        )
        body = {"kind": "browser.run", "allow": ["127.0.0.1"], "steps": steps}
        task = plant.api().post("boxes/box-1/tasks?wait_s=60", body)
    finally:
        site.close()
    assert set(task) == FIELDS["task"]
    assert (task["state"], task["error"]) == ("succeeded", None)
    for step in task["result"]["steps"]:
        assert set(step) == FIELDS["step_result"]
    (artifact,) = task["artifacts"]
    assert set(artifact) == FIELDS["artifact"]
    assert artifact["name"] == "03-screenshot.png"


def test_paths_are_there_with_their_methods(plant: Plant) -> None:
    described = plant.api().ask("GET", "/openapi.json").json["paths"]
    shapes = {re.sub(r"\{\w+\}", "{}", path): {method.upper() for method in item} for path, item in described.items()}
    for path, methods in CONTRACT["paths"].items():
        assert set(methods) <= shapes[f"{CONTRACT['defaults']['api']}/{path}"], path
    for path, status in CONTRACT["health"].items():
        assert plant.api().ask("GET", path).status == status


def test_task_box_and_list_have_their_fields(plant: Plant) -> None:
    answer = plant.api().ask("POST", "boxes/box-1/tasks?wait_s=30", {"kind": "bash.exec", "command": "echo hi; exit 3"})
    task = answer.json
    assert (answer.status, set(task)) == (200, FIELDS["task"])
    assert (task["state"], task["exit_code"], task["stdout"], task["delivery"]) == ("failed", 3, "hi\n", "confirmed")
    times = [name for name in task if name.endswith("_at") or name in {"deliver_by", "known_as_of"}]
    assert len(times) == 8
    assert [name for name in times if not TIME.fullmatch(str(task[name]))] == []
    moments = [task[name] for name in ("accepted_at", "started_at", "ended_at")]
    assert moments == sorted(moments)
    box = plant.api().get("boxes/box-1")
    assert set(box) >= FIELDS["box"]
    assert set(box["queue"]) == FIELDS["queue"]
    for path in ("boxes", "boxes/box-1/tasks", "tasks", f"tasks/{task['id']}/artifacts"):
        assert set(plant.api().get(path)) == FIELDS["list"]
    for path in ("customers", "keys", "tokens"):
        assert set(plant.platform.get(path)) == FIELDS["list"]


def test_statuses_of_a_new_task_are_those_written(plant: Plant) -> None:
    path, key = "boxes/box-1/tasks", {"Idempotency-Key": "contract"}
    body = {"kind": "bash.exec", "command": "sleep 1"}
    made = plant.api().ask("POST", path, body, headers=key)
    assert made.status == 201
    again = plant.api().ask("POST", path, body, headers=key)
    assert (again.status, again.json["id"]) == (202, made.json["id"])
    assert plant.api().ask("POST", f"{path}?wait_s=0", body, headers=key).status == 202
    assert plant.api().ask("POST", path, {**body, "timeout_s": 5}, headers=key).status == 409
    assert plant.api().ask("POST", f"{path}?wait_s=30", body, headers=key).status == 200
    for wrong in ("wait_s=301", "wait_s=-1", "limit=1"):
        assert plant.api().ask("POST", f"{path}?{wrong}", body).status == 422
    answer = plant.api().ask("POST", path, {**body, "color": "red"})
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert set(answer.json) >= FIELDS["problem"]


def test_output_is_raw_and_follows_as_events(plant: Plant) -> None:
    script = r"printf '\377\000x'; echo oh >&2"
    task = plant.api().ask("POST", "boxes/box-1/tasks?wait_s=30", {"kind": "bash.exec", "command": script}).json
    path = f"tasks/{task['id']}/output"
    assert plant.api().ask("GET", path).data == b"\xff\x00x"
    assert plant.api().ask("GET", f"{path}?stream=stderr").data == b"oh\n"
    part = plant.api().ask("GET", path, headers={"Range": "bytes=1-1"})
    assert (part.status, part.data) == (206, b"\0")
    followed = plant.api().ask("GET", f"{path}?follow=1").data.decode()
    found = re.findall(r"event: (\w+)\ndata: (.*)\n", followed)
    assert {name for name, _ in found} == {"output", "end"}
    for name, data in found:
        assert set(json.loads(data)) == FIELDS[name]
    assert set(json.loads(found[-1][1])["task"]) == FIELDS["task"]


def test_what_a_task_left_is_listed_served_and_linked_as_written(plant: Plant) -> None:
    task = plant.api().run("box-1", "head -c 600000 /dev/zero", wait_s=30)
    path = f"tasks/{task['id']}/artifacts"

    def stored() -> Any:
        (left,) = plant.api().get(path)["items"]
        return left if left["state"] == "stored" else None

    left = wait_until("it is stored", stored)
    assert set(left) == set(task["artifacts"][0]) == FIELDS["artifact"]
    assert set(CONTRACT["states"]["artifact"]) == set(get_args(Artifact.model_fields["state"].annotation))
    answer = plant.api().ask("GET", f"artifacts/{left['id']}", headers={"Range": "bytes=0-9"})
    assert (answer.status, answer.data) == (206, bytes(10))
    assert plant.api().ask("GET", f"tasks/{task['id']}/output").data == bytes(600_000)
    link = plant.api().post(f"artifacts/{left['id']}/link")
    assert set(link) == FIELDS["link"]
    assert Api(plant.url, None).ask("GET", link["download_url"]).data == bytes(600_000)


def test_death_by_a_signal_and_a_timeout_are_told_as_written(plant: Plant) -> None:
    def run(script: str, **more: object) -> Any:
        body = {"kind": "bash.exec", "command": script, **more}
        return plant.api().ask("POST", "boxes/box-1/tasks?wait_s=30", body).json

    killed = run("kill -KILL $$")
    assert (killed["state"], killed["exit_code"]) == ("failed", 128 + 9)
    late = run("sleep 30", timeout_s=0.3)
    assert late["state"] == "timed_out"
    assert set(late["error"]) == FIELDS["error"]


def test_console_answers_with_its_fields(plant: Plant) -> None:
    with connect(f"{plant.relay_url}?boxId=box-1&apiKey={plant.api().key}&hwid=test", proxy=None) as console:
        console.send(json.dumps({"type": "bash.exec", "command": "echo test", "id": "mine", "timeout_s": 10}))
        reply = json.loads(console.recv(timeout=30))
        assert set(reply) == FIELDS["console"]
        assert (reply["success"], reply["id"], reply["stdout"], reply["error"]) == (True, "mine", "test\n", None)
        console.send("nonsense")
        reply = json.loads(console.recv(timeout=30))
        assert set(reply) == FIELDS["console"]
        assert set(reply["error"]) == FIELDS["error"]


def test_operator_ends_as_the_task_does(plant: Plant) -> None:
    assert operis(plant, "run", "box-1", "--", "exit 7").returncode == 7
    said = operis(plant, "run", "box-1", "--", "printf", "%s|", "a b", "$HOME")
    assert (said.returncode, said.stdout) == (0, "a b|$HOME|")
    assert operis(plant, "run", "box-1", "--", "echo $((1+1))").stdout == "2\n"
    assert (
        operis(plant, "run", "box-1", "--timeout", "0.3", "--", "sleep 30").returncode == CONTRACT["exit"]["timed_out"]
    )
    assert operis(plant, "run", "nobody", "--", "true").returncode == CONTRACT["exit"]["ours"]
    assert command("operis", "run", "box-1", "--", "true", env={"PATH": "/bin"}).returncode == CONTRACT["exit"]["ours"]


def test_operator_and_box_print_the_apis_json(plant: Plant) -> None:
    boxes = json.loads(operis(plant, "boxes", "--json").stdout)
    assert set(boxes) == FIELDS["list"]
    assert set(boxes["items"][0]) >= FIELDS["box"]
    listed = json.loads(operis(plant, "tasks", "--json").stdout)
    assert set(listed["items"][0]) == FIELDS["task"]
    task_id = listed["items"][0]["id"]
    assert set(json.loads(operis(plant, "task", task_id, "--json").stdout)) == FIELDS["task"]
    assert set(json.loads(operis(plant, "cancel", task_id, "--json").stdout)) == FIELDS["task"]
    assert operis(plant, "logs", task_id).returncode == 0
    done = command("operis-box", "status", "--json", "--data", plant.boxes[0].data)
    assert (done.returncode, json.loads(done.stdout)["running"]) == (0, True)


def test_box_serves_its_owner_on_its_socket(plant: Plant) -> None:
    data = plant.boxes[0].data
    box = Box(data)
    task = box.post("/tasks", {"kind": "bash.exec", "command": "head -c 400000 /dev/zero"})
    assert set(task) >= FIELDS["task"]
    done = command("operis-box", "exec", "--data", data, "--", "exit 7")
    assert (done.returncode, done.stderr) == (7, "")
    assert command("operis-box", "exec", "--data", data, "--", "printf", "%s|", "a b", "$HOME").stdout == "a b|$HOME|"
    late = command("operis-box", "exec", "--data", data, "--timeout", "0.3", "--", "sleep 30")
    assert late.returncode == CONTRACT["exit"]["timed_out"]
    assert command("operis-box", "exec", "--data", data / "no", "--", "x").returncode == CONTRACT["exit"]["ours"]
    plant.wait_task(task["id"])
    (artifact,) = box.get(f"/tasks/{task['id']}/artifacts")["items"]
    assert set(artifact) >= FIELDS["artifact"]
    ids = {"/tasks/{}": task["id"], "/artifacts/{}": artifact["id"]}
    described = (ROOT / "docs" / "local-api.md").read_text("utf-8")
    for path, methods in CONTRACT["local"].items():
        place = next((path.replace("{}", found) for start, found in ids.items() if path.startswith(start)), path)
        for method in methods:
            assert f"| `{method} {path.replace('{}', '{id}')}` |" in described
            if method == "GET":
                with box.open(place) as answer:
                    assert answer.status == 200
    for path in ("/tasks", f"/tasks/{task['id']}/artifacts"):
        assert set(box.get(path)) == FIELDS["list"]
    assert box.post(f"/tasks/{task['id']}/cancel")["state"] == "succeeded"
    for words in (("tasks",), ("task", task["id"]), ("cancel", task["id"])):
        shown = json.loads(command("operis-box", *words, "--json", "--data", data).stdout)
        assert set(shown["items"][0] if words == ("tasks",) else shown) >= FIELDS["task"]


def test_name_that_is_taken_gets_a_number(plant: Plant) -> None:
    second = plant.new_box("other")
    second.start("--enrol", plant.token(), "--name", "box-1")
    plant.wait_status("box-1-2", "connected")
    assert plant.api().get("boxes/box-1-2")["name"] == "box-1"


def test_admin_commands_print_the_secret_alone(plant: Plant) -> None:
    for words in (
        ("admin-key",),
        ("key", "add", "--customer", "acme", "--role", "viewer"),
        ("token", "add", "--customer", "acme"),
    ):
        assert len(plant.hub.command(*words).split()) == 1

"""`operis-box tasks`, `task` and `cancel`."""

import asyncio
import json
import sys

from tests.unit.appliance.client.conftest import Daemon, Owner
from tests.unit.appliance.engines import bash


async def test_tasks_are_listed_for_people_and_programs(owner: Owner, daemon: Daemon) -> None:
    assert (await owner("tasks")).err == "none\n"
    ids = [(await daemon.engines.run(f"exit {code}")).task_id for code in (3, 0)]
    title, newest, oldest = (await owner("tasks")).text.splitlines()
    assert title.split() == ["TASK", "FROM", "STATE", "EXIT", "AGE", "RAN", "COMMAND"]
    assert newest.split()[:4] == [ids[1], "local", "succeeded", "0"]
    assert oldest.split()[:4] == [ids[0], "local", "failed", "3"]
    found = json.loads((await owner("tasks", "--json", "--state", "failed", "--origin", "local")).out)
    assert ([task["id"] for task in found["items"]], found["next"]) == ([ids[0]], None)


async def test_pages_follow_on_each_other(owner: Owner, daemon: Daemon) -> None:
    ids = [(await daemon.engines.run("true")).task_id for _ in range(3)]
    first = await owner("tasks", "--limit", "2")
    assert "there are more: --all, or --cursor " in first.err
    rest = await owner("tasks", "--json", "--cursor", first.err.split()[-1])
    assert [task["id"] for task in json.loads(rest.out)["items"]] == ids[:1]
    whole = json.loads((await owner("tasks", "--all", "--json")).out)
    assert [task["id"] for task in whole["items"]] == ids[::-1]


async def test_one_task_is_shown_whole(owner: Owner, daemon: Daemon) -> None:
    task_id = (await daemon.engines.run("echo hi; exit 3")).task_id
    text = (await owner("task", task_id)).text
    for words in (
        "state    failed, exit code 3",
        "made by  - (local)",
        "hub      it does not have its end yet",
        "\nhi",
    ):
        assert words in text
    assert json.loads((await owner("task", task_id, "--json")).out)["stdout"] == "hi\n"


async def test_running_task_is_cancelled_and_one_that_is_over_is_not(owner: Owner, daemon: Daemon) -> None:
    engine = daemon.engines.engine
    assert engine is not None
    task_id = await engine.submit(bash("sleep 60"))
    assert "waits    running" in (await owner("task", task_id)).text
    done = await owner("cancel", task_id)
    assert (done.status, done.text.splitlines()[0]) == (0, f"task {task_id} is running and told to end")
    assert (await daemon.engines.wait(task_id)).state == "cancelled"
    assert (await owner("cancel", task_id)).text == f"task {task_id} had ended before: cancelled\n"
    engine.executor.hold()
    waiting = await engine.submit(bash("true"))
    assert "accepted: waits for its turn" in (await owner("task", waiting)).text
    assert (await owner("cancel", waiting)).text == f"task {waiting} is cancelled\n"
    assert json.loads((await owner("cancel", waiting, "--json")).out)["state"] == "cancelled"


async def test_what_is_not_there_is_said(owner: Owner, daemon: Daemon) -> None:
    for words, status, says in (
        (["task", "nobody"], 1, "there is no task 'nobody'"),
        (["cancel", "nobody"], 1, "there is no task 'nobody'"),
        (["task", "../status"], 2, "no id of a task"),
        (["tasks", "--limit", "0"], 1, "1 to 500"),
        (["tasks", "--state", "done"], 2, "succeeded"),
        (["tasks", "--bogus"], 2, "--bogus"),
        (["tasks", "--", "x"], 2, "takes nothing after --"),
    ):
        done = await owner(*words)
        assert (done.status, done.out) == (status, b""), words
        assert says in done.err
        assert "hint: " in done.err
    await daemon.stop()
    for command in (["tasks"], ["task", "t"], ["cancel", "t"]):
        done = await owner(*command)
        assert done.status == 3
        assert "no daemon runs" in done.err


async def test_closed_and_full_outputs_end_it_without_a_traceback(owner: Owner, daemon: Daemon) -> None:
    await daemon.engines.run("true")
    command = f"{sys.executable} -m appliance.cli tasks --data {owner.data}"
    for redirect, status, says in ((">&-", 0, b""), (">/dev/full", 1, b"cannot be written")):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"exec {command} {redirect}", stderr=asyncio.subprocess.PIPE
        )
        owner.started.append(process)
        _, err = await process.communicate()
        assert process.returncode == status
        assert says in err
        assert b"Traceback" not in err

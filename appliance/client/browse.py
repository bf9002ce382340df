"""`operis-box browse`: take steps in a browser on this box, show them as they end, and put what they kept in place."""

import argparse
import json
import sys
from typing import Any

from appliance.client import attend
from appliance.client.box import PROGRAM, Box
from appliance.client.fetch import fetch
from cloudsync.task import TaskState
from cloudsync.terminal import browse as typed, files
from cloudsync.terminal.ending import OURS, say
from cloudsync.terminal.steps import Steps


def run(box: Box, arguments: argparse.Namespace) -> int:
    """Run it: 0, 1 where a step failed, 124 where it timed out, 255 for anything of ours."""
    plan = typed.plan_of(arguments)
    task = attend.create(box, plan.body, "browse")
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    steps = Steps(plan.body)
    try:
        task = attend.to_end(box, task, {}, on_step=(lambda _: None) if arguments.json else steps.show)
    except attend.Left:
        return OURS
    if arguments.json:
        print(json.dumps(task))
    else:
        steps.rest(task)
    sys.stdout.flush()
    status = typed.exit_status(PROGRAM, task, TaskState(str(task["state"])))
    for wanted in plan.wanted:
        if not _fetch(box, wanted, task, quiet=arguments.json):
            status = status or OURS
    return status


def _fetch(box: Box, wanted: files.Wanted, task: dict[str, Any], *, quiet: bool) -> bool:
    """Put a wanted file in its place and say so, or say why it is not there."""
    artifact = files.find(wanted, task)
    if isinstance(artifact, str):
        kept = f"'{PROGRAM} task {task['id']} --data {box.data} --artifacts DIR' fetches what it kept"
        say(PROGRAM, artifact, kept if task["artifacts"] else "")
        return False
    return fetch(box, artifact, wanted.path, label=wanted.flag[2:], quiet=quiet)

"""`operis-box exec`: run a script on this box, show its output as it comes, and end as it ended."""

import argparse
import json
import sys
from typing import Any

from appliance.client import attend
from appliance.client.box import PROGRAM, Box
from cloudsync.errors import Misuse
from cloudsync.task import TaskState
from cloudsync.terminal import script
from cloudsync.terminal.ending import OURS, exit_status
from cloudsync.terminal.sink import live_sinks


def body_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The task's spec; what is not given is left to the box."""
    words = arguments.words
    if arguments.script is not None:
        if arguments.script != "-" or words:
            raise Misuse(
                f"'{arguments.script}' is not understood before --",
                "write the command after --, or - alone for a script from standard input",
            )
        if arguments.stdin == "-":
            raise Misuse("standard input cannot be both script and input", "name a file for one of them")
        words = [script.read_text("-", "-")]
    return script.bash_body(
        words,
        example=f"{PROGRAM} exec --data {arguments.data} -- uptime",
        stdin=arguments.stdin,
        env=arguments.env,
        more={"cwd": arguments.cwd, "timeout_s": arguments.timeout_s, "idempotent": arguments.idempotent or None},
    )


def execute(box: Box, arguments: argparse.Namespace) -> int:
    """Run it; the exit status is the task's own, 124 where it timed out, 255 for anything of ours."""
    task = attend.create(box, body_of(arguments), "exec")
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    try:
        task = attend.to_end(box, task, {} if arguments.json else live_sinks())
    except attend.Left:
        return OURS
    if arguments.json:
        print(json.dumps(task))
    sys.stdout.flush()
    return exit_status(PROGRAM, task, TaskState(str(task["state"])))

"""`operis run`: hand a script to a box, show its output as it comes, and end as it ended."""

import argparse
import json
from typing import Any

from cloudsync.terminal import script
from cloudsync.terminal.ending import OURS, exit_status
from cloudsync.terminal.sink import live_sinks
from hub.client import attend, waiting
from hub.client.http import PROGRAM, Hub


def body_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The task's spec; what is not given is left to the hub."""
    more = {name: getattr(arguments, name) for name in ("cwd", "timeout_s", "deliver_within_s")}
    return script.bash_body(
        arguments.words,
        example=f"{PROGRAM} run {arguments.box} -- uptime",
        stdin=arguments.stdin,
        env=arguments.env,
        more=more | ({"idempotent": True} if arguments.idempotent else {}),
    )


def run(hub: Hub, arguments: argparse.Namespace) -> int:
    """Run the command; the exit status is the task's own, 124 where it timed out, 255 for anything of ours."""
    task = attend.create(hub, arguments.box, body_of(arguments), "run")
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    sinks = {} if arguments.json else live_sinks()
    try:
        task = attend.to_end(hub, task, sinks, cancel=arguments.cancel_on_interrupt)
    except attend.Left:
        return OURS
    if arguments.json:
        print(json.dumps(task))
    return exit_status(PROGRAM, task, waiting.state_of(task))

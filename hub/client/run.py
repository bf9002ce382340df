"""`operis run`: hand a script to a box, show its output as it comes, and end as it ended."""

import argparse
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from cloudsync.terminal import script
from cloudsync.terminal.ending import OURS, exit_status, say
from cloudsync.terminal.sink import live_sinks
from cloudsync.terminal.status_line import StatusLine
from hub.client import boxes, waiting
from hub.client.errors import ClientError, Refused, Unreachable
from hub.client.follow import Follower
from hub.client.http import PROGRAM, Hub, segment

# Pauses between attempts to hand the task over: together as long as a hub takes to start again.
RETRY_S: Final = (0.3, 0.7, 1.5)


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
    task = create(hub, arguments.box, body_of(arguments))
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    status = StatusLine(PROGRAM)
    sinks = {} if arguments.json else live_sinks()
    follower = Follower(hub, task, sinks, status)
    try:
        task = follower.to_end()
    except KeyboardInterrupt:
        status.clear()
        return _interrupted(hub, task, cancel=arguments.cancel_on_interrupt)
    except ClientError as error:
        status.clear()
        raise Unreachable(f"{error}; task {task['id']} goes on", f"'operis logs {task['id']} -f' follows it") from error
    except BrokenPipeError:
        status.clear()
        say(
            PROGRAM,
            f"nobody reads the output any more; task {task['id']} goes on",
            f"'operis cancel {task['id']}' ends it",
        )
        raise
    if arguments.json:
        print(json.dumps(task))
    return exit_status(PROGRAM, task, waiting.state_of(task))


def create(hub: Hub, box_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Hand the task over; sent again with the same key where no answer came, so that it is made once."""
    headers = {"Idempotency-Key": f"operis-{secrets.token_hex(16)}"}
    path = f"boxes/{segment(box_id, 'box')}/tasks"
    pauses = iter(RETRY_S)
    while True:
        try:
            task = hub.post(path, body, headers=headers)
        except Unreachable as error:
            pause_s = next(pauses, None) if error.passing else None
            if pause_s is None:
                raise
            time.sleep(pause_s)
        except Refused as refused:
            raise boxes.with_near_names(hub, _with_flags(refused), box_id) from refused
        else:
            return hub.named("task", task)


def _with_flags(refused: Refused) -> Refused:
    """The same refusal; where fields of the task are wrong, by the flags that gave them."""
    if not refused.fields:
        return refused
    hint = f"'{PROGRAM} run --help' shows what is allowed"
    return Refused(refused.status, script.by_flags(refused.fields), hint, refused.fields)


def _interrupted(hub: Hub, task: dict[str, Any], *, cancel: bool) -> int:
    task_id = task["id"]
    if cancel:
        hub.post(f"tasks/{segment(task_id)}/cancel")
        say(PROGRAM, f"task {task_id} is being cancelled", f"'operis task {task_id}' shows how it ended")
    else:
        say(
            PROGRAM,
            f"task {task_id} goes on on {task['box_id']}",
            f"'operis logs {task_id} -f' follows it, 'operis cancel {task_id}' ends it",
        )
    return OURS

"""`operis browse`: take steps in a browser on a box, show them as they end, and put what they kept in place."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from cloudsync.terminal import browse as typed, files
from cloudsync.terminal.ending import OURS, say
from cloudsync.terminal.size import size
from cloudsync.terminal.status_line import Reason, StatusLine
from cloudsync.terminal.steps import Steps
from hub.client import artifacts, attend, waiting
from hub.client.errors import ClientError, Refused, Unreachable
from hub.client.follow import is_passing
from hub.client.http import PROGRAM, Hub, segment

# How often is looked whether the box has sent a file: it does so within a moment, or the wait is long.
LOOK_S: Final = (0.1, 0.1, 0.2, 0.5, 1.0)
# A box that has sent nothing by then is away: somebody has to look.
GIVE_UP_S: Final = 600.0


def browse(hub: Hub, arguments: argparse.Namespace) -> int:
    """Run it: 0, 1 where a step failed, 124 where it timed out, 255 for anything of ours."""
    plan = typed.plan_of(arguments)
    body = plan.body
    if arguments.deliver_within_s is not None:
        body["deliver_within_s"] = arguments.deliver_within_s
    task = attend.create(hub, arguments.box, body, "browse")
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    steps = Steps(body)
    on_step = (lambda _: None) if arguments.json else steps.show
    try:
        task = attend.to_end(hub, task, {}, on_step, cancel=arguments.cancel_on_interrupt)
        if not arguments.json:
            steps.rest(task)
        status = typed.exit_status(PROGRAM, task, waiting.state_of(task))
        task = _when_sent(hub, task, plan.wanted)
    except attend.Left:
        return OURS
    if arguments.json:
        print(json.dumps(task))
    for wanted in plan.wanted:
        if not _fetch(hub, wanted, task, quiet=arguments.json):
            status = status or OURS
    sys.stdout.flush()
    return status


def _when_sent(hub: Hub, task: dict[str, Any], wanted: Sequence[files.Wanted]) -> dict[str, Any]:
    """The task when its box has sent the files that are wanted, or will not; `Left` after Ctrl-C."""
    status = StatusLine(PROGRAM)
    until = time.monotonic() + GIVE_UP_S
    looks = 0
    later = f"'{PROGRAM} task {task['id']} --artifacts DIR' fetches what it kept"
    try:
        while pending := [one for one in _found(task, wanted) if one["state"] == "pending"]:
            if time.monotonic() > until:
                status.clear()
                raise Unreachable(f"{task['box_id']} has not sent {pending[0]['name']}", later)
            time.sleep(LOOK_S[min(looks, len(LOOK_S) - 1)])
            looks += 1
            try:
                task = hub.named("task", hub.get(f"tasks/{segment(str(task['id']))}"))
                if looks >= len(LOOK_S):
                    box = hub.get(f"boxes/{segment(str(task['box_id']), 'box')}")
                    status.show(_reason(pending, box, hub.now()))
            except ClientError as error:
                if not is_passing(error):
                    raise
                status.show(Reason("unreachable", f"{error}; trying again"))
    except KeyboardInterrupt:
        status.clear()
        say(PROGRAM, f"{task['box_id']} goes on sending what the task kept", later)
        raise attend.Left from None
    status.clear()
    return task


def _reason(pending: Sequence[dict[str, Any]], box: dict[str, Any], now: float) -> Reason:
    absent = waiting.away(box, now)
    what = f"{pending[0]['name']} ({size(pending[0]['size_bytes'])})"
    return Reason(
        f"sending {bool(absent)}", f"waits for {what} from {box.get('id')}" + (f": {absent}" if absent else "")
    )


def _found(task: dict[str, Any], wanted: Sequence[files.Wanted]) -> list[dict[str, Any]]:
    return [found for one in wanted if isinstance(found := files.find(one, task), dict)]


def _fetch(hub: Hub, wanted: files.Wanted, task: dict[str, Any], *, quiet: bool) -> bool:
    """Put a wanted file in its place and say so, or say why it is not there."""
    label = wanted.flag[2:]
    artifact = files.find(wanted, task)
    if isinstance(artifact, str):
        kept = f"'{PROGRAM} task {task['id']} --artifacts DIR' fetches what it kept"
        say(PROGRAM, artifact, kept if task["artifacts"] else "")
        return False
    if artifact["state"] == "lost":
        say(PROGRAM, f"{label}: {artifact['name']} is lost: {artifact['why']}")
        return False
    try:
        artifacts.fetch_one(hub, artifact, wanted.path, lambda _: None)
    except Refused as refused:
        say(PROGRAM, f"{label}: {refused}", refused.hint)
        return False
    if not quiet:
        print(f"{label}: {wanted.path} ({size(artifact['size_bytes'])})")
    return True

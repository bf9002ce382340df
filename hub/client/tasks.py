"""The commands about tasks: `tasks`, `task`, `cancel`, `logs`."""

import argparse
import base64
import json
import sys
from typing import Any

from cloudsync.task import TaskState
from cloudsync.terminal.sink import STREAMS, Stream, live_sinks, write_all
from cloudsync.terminal.status_line import StatusLine
from cloudsync.terminal.task import fields_of, print_task, print_tasks, words_of
from hub.client import artifacts
from hub.client.errors import ClientError
from hub.client.follow import Follower, kept_output
from hub.client.http import PROGRAM, Hub, segment
from hub.client.listing import print_list
from hub.client.waiting import away, is_final, reason, state_of


def tasks(hub: Hub, arguments: argparse.Namespace) -> int:
    """List tasks, the newest first."""
    filters = {"box_id": arguments.box, "state": arguments.state, "origin": arguments.origin}
    return print_list(hub, arguments, "tasks", filters, _print_tasks)


def _print_tasks(hub: Hub, found: list[dict[str, Any]]) -> None:
    print_tasks(found, hub.now())


def task(hub: Hub, arguments: argparse.Namespace) -> int:
    """Show one task: what it is, where its time went, what came of it."""
    found = hub.named("task", hub.get(f"tasks/{segment(arguments.task)}"))
    if arguments.artifacts is not None:
        return _fetch(hub, found, arguments)
    if arguments.json:
        print(json.dumps(found))
    else:
        _show(hub, found)
    return 0


def _fetch(hub: Hub, found: dict[str, Any], arguments: argparse.Namespace) -> int:
    status, left = artifacts.fetch(hub, found["id"], arguments.artifacts, arguments.wait_s, quiet=arguments.json)
    if arguments.json:
        print(json.dumps({**found, "artifacts": left}))
    return status


def cancel(hub: Hub, arguments: argparse.Namespace) -> int:
    """Cancel a task; says what that came to."""
    found = hub.named("task", hub.post(f"tasks/{segment(arguments.task)}/cancel"))
    if arguments.json:
        print(json.dumps(found))
        return 0
    task_id = found.get("id")
    if state_of(found) is TaskState.CANCELLED:
        print(f"task {task_id} is cancelled")
    elif is_final(found):
        print(f"task {task_id} had ended before: {words_of(found)}")
    else:
        box = _box_of(hub, found)
        absent = away(box, hub.now())
        print(f"task {task_id} is {words_of(found)}: {found.get('box_id')} is told to end it")
        if absent:
            print(f"{absent}, so that waits until it is back")
    return 0


def logs(hub: Hub, arguments: argparse.Namespace) -> int:
    """Write a task's output, byte by byte as it was; with `-f` as it comes, until the task ends.

    As JSON it is one object, with `-f` once the task has ended: each stream as text and as base64 of its bytes.
    """
    found = hub.named("task", hub.get(f"tasks/{segment(arguments.task)}"))
    wanted: tuple[Stream, ...] = STREAMS if arguments.stream == "both" else (arguments.stream,)
    if arguments.follow and not is_final(found):
        sinks = {name: sink for name, sink in live_sinks().items() if name in wanted and not arguments.json}
        status = StatusLine(PROGRAM)
        try:
            Follower(hub, found, sinks, status).to_end()
        finally:
            status.clear()
        if not arguments.json:
            return 0
    if arguments.json:
        outputs = {stream: kept_output(hub, f"tasks/{segment(arguments.task)}", stream) for stream in wanted}
        shown: dict[str, Any] = {"task_id": found["id"], "truncated": any(kept.cut for kept in outputs.values())}
        for stream, kept in outputs.items():
            shown[stream] = kept.data.decode(errors="replace")
            shown[f"{stream}_b64"] = base64.b64encode(kept.data).decode()
        print(json.dumps(shown))
        return 0
    files = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    for stream in wanted:
        kept = kept_output(hub, f"tasks/{segment(arguments.task)}", stream)
        write_all(files[stream], kept.data)
        if kept.cut:
            print(f"{PROGRAM}: {stream} is cut: what is left out is said on a line of its own", file=sys.stderr)
    return 0


def _box_of(hub: Hub, found: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return hub.get(f"boxes/{segment(str(found.get('box_id')), 'box')}")
    except ClientError:
        # The task is what was asked for; its box only explains a wait.
        return None


def _show(hub: Hub, found: dict[str, Any]) -> None:
    ended = is_final(found)
    waits = "" if ended else reason(found, _box_of(hub, found), hub.now()).text
    moments = [
        ("queued", found.get("created_at")),
        ("delivered", found.get("delivered_at")),
        ("accepted", found.get("accepted_at")),
        ("started", found.get("started_at")),
        ("ended", found.get("ended_at")),
        ("in the ledger", found.get("synced_at") if ended else None),
    ]
    print_task(found, fields_of(found, waits=waits), moments)
    artifacts.show(found.get("artifacts") or [], str(found.get("id")))

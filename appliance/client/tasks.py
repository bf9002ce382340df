"""The commands about tasks of a box: `tasks`, `task`, `cancel`."""

import argparse
import json
import sys
import time
from typing import Any, Final

from appliance.client.box import PROGRAM, Box, task_path
from appliance.client.fetch import fetch_all
from appliance.client.follow import reason
from cloudsync.task import TaskState
from cloudsync.terminal.size import size
from cloudsync.terminal.task import fields_of, has_ended, print_task, print_tasks, words_of

# The most that the API gives at once.
LIST_LIMIT: Final = 500
FAILED: Final = 1


def tasks(box: Box, arguments: argparse.Namespace) -> int:
    """List tasks, the newest first: one page, or with `--all` every one."""
    query = {"state": arguments.state, "kind": arguments.kind, "origin": arguments.origin}
    limit = LIST_LIMIT if arguments.all else arguments.limit
    found: list[dict[str, Any]] = []
    cursor: str | None = arguments.cursor
    while True:
        page = box.get("/tasks", {**query, "limit": limit, "cursor": cursor})
        found += page["items"]
        cursor = page["next"]
        if cursor is None or not arguments.all:
            break
    if arguments.json:
        print(json.dumps({"items": found, "next": cursor}))
        return 0
    if not found:
        print("none", file=sys.stderr)
        return 0
    print_tasks(found, time.time(), place=("FROM", "origin"))
    if cursor is not None:
        print(f"there are more: --all, or --cursor {cursor}", file=sys.stderr)
    return 0


def task(box: Box, arguments: argparse.Namespace) -> int:
    """Show one task: what it is, where its time went, what came of it."""
    found = box.get(task_path(arguments.task))
    if arguments.json:
        print(json.dumps(found))
    if arguments.artifacts is not None:
        return 0 if fetch_all(box, found, arguments.artifacts, quiet=arguments.json) else FAILED
    if arguments.json:
        return 0
    waits = "" if has_ended(found) else reason(found, time.time()).text
    ledger = "it has its end" if found.get("synced") else "it does not have its end yet"
    moments = [(name, found.get(f"{name}_at")) for name in ("created", "accepted", "started", "ended")]
    left = "\n".join(f"{one['name']} ({size(one['size_bytes'])}, {_place(one)})" for one in found["artifacts"])
    more = [("hub", ledger if has_ended(found) else ""), ("files", left)]
    print_task(found, [*fields_of(found, waits=waits), *more], moments)
    return 0


def _place(artifact: dict[str, Any]) -> str:
    if artifact["state"] == "lost":
        return f"lost: {artifact['why']}"
    here = "here" if artifact["here"] else "no longer here"
    return f"{here}, the hub has it" if artifact["state"] == "stored" else here


def cancel(box: Box, arguments: argparse.Namespace) -> int:
    """Cancel a task; says what that came to."""
    before = box.get(task_path(arguments.task))
    found = box.post(f"{task_path(arguments.task)}/cancel")
    if arguments.json:
        print(json.dumps(found))
    elif has_ended(before):
        print(f"task {found['id']} had ended before: {words_of(before)}")
    elif found["state"] == TaskState.CANCELLED:
        print(f"task {found['id']} is cancelled")
    else:
        print(f"task {found['id']} is {words_of(found)} and told to end")
        print(f"'{PROGRAM} task {found['id']} --data {box.data}' shows how it ended")
    return 0

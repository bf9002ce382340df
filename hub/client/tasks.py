"""The commands about tasks: `tasks`, `task`, `cancel`, `logs`."""

import argparse
import base64
import json
import sys
from typing import Any, Final

from cloudsync.task import Delivery, TaskState
from hub.client import times
from hub.client.errors import ClientError
from hub.client.follow import Follower, kept_output
from hub.client.http import Hub, segment
from hub.client.listing import print_list
from hub.client.run import live_sinks
from hub.client.sink import STREAMS, Stream, write_all
from hub.client.table import Column, plain, print_fields, print_table
from hub.client.waiting import StatusLine, away, is_final, reason, state_of

STATE_STYLES: Final = {
    "queued": "cyan",
    "sent": "cyan",
    "accepted": "cyan",
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "timed": "red",
    "cancelled": "yellow",
    "interrupted": "magenta",
    "expired": "yellow",
    "rejected": "red",
}


def tasks(hub: Hub, arguments: argparse.Namespace) -> int:
    """List tasks, the newest first."""
    filters = {"box_id": arguments.box, "state": arguments.state, "origin": arguments.origin}
    return print_list(hub, arguments, "tasks", filters, _print_tasks)


def _print_tasks(hub: Hub, found: list[dict[str, Any]]) -> None:
    now = hub.now()
    columns = [
        Column("TASK", whole=True),
        Column("BOX"),
        Column("STATE", whole=True, styles=STATE_STYLES),
        Column("EXIT", right=True, whole=True),
        Column("AGE", right=True, whole=True),
        Column("RAN", right=True, whole=True),
        Column("COMMAND"),
    ]
    print_table(
        columns,
        [
            [
                str(task.get("id")),
                str(task.get("box_id")),
                words_of(task),
                "-" if task.get("exit_code") is None else str(task["exit_code"]),
                times.age(task.get("created_at"), now).removesuffix(" ago"),
                _ran(task, now),
                " ".join(command_of(task).split())[:200],
            ]
            for task in found
        ],
    )


def words_of(task: dict[str, Any]) -> str:
    """The state in a word or two; a queued task that has left the hub is said to be sent."""
    state = str(task.get("state"))
    if state == TaskState.QUEUED and task.get("delivery") == Delivery.SENT:
        return "sent"
    return state.replace("_", " ")


def command_of(task: dict[str, Any]) -> str:
    """What the task was asked to do."""
    spec = task.get("spec")
    command = spec.get("command") if isinstance(spec, dict) else None
    return command if isinstance(command, str) else str(task.get("kind"))


def _ran(task: dict[str, Any], now: float) -> str:
    took = times.between(task.get("started_at"), task.get("ended_at"))
    if took is not None:
        return times.span(took)
    started = times.parse(task.get("started_at"))
    return "-" if started is None or is_final(task) else times.coarse(now - started)


def task(hub: Hub, arguments: argparse.Namespace) -> int:
    """Show one task: what it is, where its time went, what came of it."""
    found = hub.named("task", hub.get(f"tasks/{segment(arguments.task)}"))
    if arguments.json:
        print(json.dumps(found))
    else:
        _show(hub, found)
    return 0


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
        status = StatusLine()
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
            print(f"operis: {stream} is cut: what is left out is said on a line of its own", file=sys.stderr)
    return 0


def _box_of(hub: Hub, found: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return hub.get(f"boxes/{segment(str(found.get('box_id')), 'box')}")
    except ClientError:
        # The task is what was asked for; its box only explains a wait.
        return None


def _show(hub: Hub, found: dict[str, Any]) -> None:
    spec = found.get("spec") or {}
    ended = is_final(found)
    code = found.get("exit_code")
    waits = "" if ended else reason(found, _box_of(hub, found), hub.now()).text
    error = found.get("error") or {}
    print_fields(
        [
            ("task", str(found.get("id"))),
            ("box", str(found.get("box_id"))),
            ("command", command_of(found)),
            ("state", words_of(found) + ("" if code is None else f", exit code {code}")),
            ("waits", waits),
            ("error", f"{error.get('message')} ({error.get('code')})" if error else ""),
            ("hint", str(error.get("hint") or "")),
            ("made by", f"{found.get('created_by') or '-'} ({found.get('origin')})"),
            ("attempt", str(found.get("attempt")) if (found.get("attempt") or 0) > 1 else ""),
            ("limits", _limits(spec)),
            ("cwd", str(spec.get("cwd") or "")),
            ("env", "\n".join(f"{name}={value}" for name, value in (spec.get("env") or {}).items())),
            ("known", "" if ended else f"as of {times.clock(found.get('known_as_of'))}"),
            ("result", json.dumps(found["result"]) if found.get("result") else ""),
        ]
    )
    print()
    _show_times(found)
    for stream in STREAMS:
        if text := str(found.get(stream) or ""):
            print(f"\n{stream}:")
            print(plain(text, lines=True).removesuffix("\n"))


def _limits(spec: dict[str, Any]) -> str:
    limits = [
        f"{word} within {times.coarse(float(spec[name]))}"
        for name, word in (("deliver_within_s", "delivered"), ("timeout_s", "ended"))
        if isinstance(spec.get(name), int | float)
    ]
    return ", ".join([*limits, *(["may be run again"] if spec.get("idempotent") else [])])


def _show_times(found: dict[str, Any]) -> None:
    """Each moment, and how long after the one before it came."""
    moments = [
        ("queued", found.get("created_at")),
        ("delivered", found.get("delivered_at")),
        ("accepted", found.get("accepted_at")),
        ("started", found.get("started_at")),
        ("ended", found.get("ended_at")),
        ("in the ledger", found.get("synced_at") if is_final(found) else None),
    ]
    rows = []
    before: str | None = None
    for name, moment in moments:
        if moment is None:
            continue
        took = times.between(before, moment)
        rows.append([name, times.clock(moment), "" if took is None else f"+{took * 1000:.0f} ms".replace("+-", "-")])
        before = moment
    total = times.between(found.get("created_at"), before)
    if len(rows) > 1 and total is not None:
        rows.append(["in all", "", f"{total * 1000:.0f} ms"])
    print_table([Column("WHEN", whole=True), Column("TIME", whole=True), Column("AFTER", right=True, whole=True)], rows)

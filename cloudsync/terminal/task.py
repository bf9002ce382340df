"""A task's JSON for people: in a line of a list, or whole."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudsync.task import FINAL, Delivery, TaskState
from cloudsync.terminal import times
from cloudsync.terminal.sink import STREAMS
from cloudsync.terminal.steps import Steps, step_words
from cloudsync.terminal.table import Column, plain, print_fields, print_table

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
_COMMAND_LIMIT: Final = 200

Json = dict[str, Any]


def has_ended(task: Mapping[str, Any]) -> bool:
    """Whether it is over, as far as this version knows its state."""
    return task.get("state") in FINAL


def words_of(task: Mapping[str, Any]) -> str:
    """The state in a word or two; a queued task that has left the hub is said to be sent."""
    state = str(task.get("state"))
    if state == TaskState.QUEUED and task.get("delivery") == Delivery.SENT:
        return "sent"
    return state.replace("_", " ")


def command_of(task: Mapping[str, Any]) -> str:
    """What the task was asked to do."""
    spec = task.get("spec")
    match spec:
        case {"command": str(command)}:
            return command
        case {"steps": [*steps]}:
            return " → ".join(step_words(step) for step in steps)
        case _:
            return str(task.get("kind"))


def print_tasks(tasks: Sequence[Json], now: float, *, place: tuple[str, str] = ("BOX", "box_id")) -> None:
    """A list: a line a task. `place` is the title and the field of the column that says whose it is."""
    title, field = place
    columns = [
        Column("TASK", whole=True),
        Column(title),
        Column("STATE", whole=True, styles=STATE_STYLES),
        Column("EXIT", right=True, whole=True),
        Column("AGE", right=True, whole=True),
        Column("RAN", right=True, whole=True),
        Column("COMMAND"),
    ]
    rows = [
        [
            str(task.get("id")),
            str(task.get(field)),
            words_of(task),
            "-" if task.get("exit_code") is None else str(task["exit_code"]),
            times.age(task.get("created_at"), now).removesuffix(" ago"),
            _ran(task, now),
            " ".join(command_of(task).split())[:_COMMAND_LIMIT],
        ]
        for task in tasks
    ]
    print_table(columns, rows)


def _ran(task: Json, now: float) -> str:
    took = times.between(task.get("started_at"), task.get("ended_at"))
    if took is not None:
        return times.span(took)
    started = times.parse(task.get("started_at"))
    return "-" if started is None or has_ended(task) else times.coarse(now - started)


def fields_of(task: Json, *, waits: str = "") -> list[tuple[str, str]]:
    """What it is and what came of it, a labelled text each. `waits` says why there is no end yet."""
    spec = task.get("spec") or {}
    code = task.get("exit_code")
    error = task.get("error") or {}
    return [
        ("task", str(task.get("id"))),
        ("box", str(task.get("box_id") or "")),
        ("command", command_of(task)),
        ("state", words_of(task) + ("" if code is None else f", exit code {code}")),
        ("waits", waits),
        ("error", f"{error.get('message')} ({error.get('code')})" if error else ""),
        ("hint", str(error.get("hint") or "")),
        ("made by", f"{task.get('created_by') or '-'} ({task.get('origin')})"),
        ("attempt", str(task.get("attempt")) if (task.get("attempt") or 0) > 1 else ""),
        ("limits", _limits(spec)),
        ("cwd", str(spec.get("cwd") or "")),
        ("env", "\n".join(f"{name}={value}" for name, value in (spec.get("env") or {}).items())),
        ("known", "" if has_ended(task) else f"as of {times.clock(task.get('known_as_of'))}"),
        ("result", _result(task.get("result") or {})),
    ]


def _result(result: Json) -> str:
    """All but the steps, which have lines of their own."""
    rest = {name: value for name, value in result.items() if name != "steps"}
    return json.dumps(rest) if rest else ""


def _limits(spec: Json) -> str:
    limits = [
        f"{word} within {times.coarse(float(spec[name]))}"
        for name, word in (("deliver_within_s", "delivered"), ("timeout_s", "ended"))
        if isinstance(spec.get(name), int | float)
    ]
    return ", ".join([*limits, *(["may be run again"] if spec.get("idempotent") else [])])


def print_task(task: Json, fields: Sequence[tuple[str, str]], moments: Sequence[tuple[str, str | None]]) -> None:
    """One task: its fields, each moment of its life and how long after the one before it came, and its output."""
    print_fields(fields)
    print()
    _print_moments(moments)
    spec = task.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("steps"), list) and (task.get("result") or {}).get("steps"):
        print("\nsteps:")
        Steps(spec).rest(task)
    for stream in STREAMS:
        if text := str(task.get(stream) or ""):
            print(f"\n{stream}:")
            print(plain(text, lines=True).removesuffix("\n"))


def _print_moments(moments: Sequence[tuple[str, str | None]]) -> None:
    rows = []
    before: str | None = None
    first = next((moment for _, moment in moments if moment), None)
    for name, moment in moments:
        if moment is None:
            continue
        took = times.between(before, moment)
        rows.append([name, times.clock(moment), "" if took is None else f"+{took * 1000:.0f} ms".replace("+-", "-")])
        before = moment
    total = times.between(first, before)
    if len(rows) > 1 and total is not None:
        rows.append(["in all", "", f"{total * 1000:.0f} ms"])
    print_table([Column("WHEN", whole=True), Column("TIME", whole=True), Column("AFTER", right=True, whole=True)], rows)

"""Handing a task to a box and staying with it: made once, followed to its end, left by Ctrl-C."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cloudsync.terminal import script
from cloudsync.terminal.ending import say
from cloudsync.terminal.sink import Sink, Stream
from cloudsync.terminal.status_line import StatusLine
from cloudsync.terminal.streams import drop_output, why_unwritten
from hub.client import boxes
from hub.client.errors import ClientError, Refused, Unreachable
from hub.client.follow import Follower
from hub.client.http import PROGRAM, Hub, segment

# Pauses between attempts to hand the task over: together as long as a hub takes to start again.
RETRY_S: Final = (0.3, 0.7, 1.5)


class Left(Exception):
    """The operator leaves; what becomes of the task has been said."""


def create(hub: Hub, box_id: str, body: Mapping[str, Any], command: str) -> dict[str, Any]:
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
            raise boxes.with_near_names(hub, _with_flags(refused, command), box_id) from refused
        else:
            return hub.named("task", task)


def _with_flags(refused: Refused, command: str) -> Refused:
    """The same refusal; where fields of the task are wrong, by the flags that gave them."""
    if not refused.fields:
        return refused
    hint = f"'{PROGRAM} {command} --help' shows what is allowed"
    return Refused(refused.status, script.by_flags(refused.fields), hint, refused.fields)


def to_end(
    hub: Hub,
    task: dict[str, Any],
    sinks: Mapping[Stream, Sink],
    on_step: Callable[[dict[str, Any]], None] = lambda _: None,
    *,
    cancel: bool,
) -> dict[str, Any]:
    """Follow a task until it is over; the task as it ended. `Left` after Ctrl-C, which ends it where `cancel`."""
    status = StatusLine(PROGRAM)
    try:
        return Follower(hub, task, sinks, status, on_step).to_end()
    except KeyboardInterrupt:
        status.clear()
        _leave(hub, task, cancel=cancel)
        raise Left from None
    except ClientError as error:
        status.clear()
        hint = _look(task)
        raise Unreachable(f"{error}; task {task['id']} goes on", hint) from error
    except OSError as error:
        drop_output()
        status.clear()
        say(PROGRAM, f"{why_unwritten(error)}; task {task['id']} goes on", f"'{PROGRAM} cancel {task['id']}' ends it")
        raise Left from None


def _leave(hub: Hub, task: dict[str, Any], *, cancel: bool) -> None:
    task_id = task["id"]
    if cancel:
        hub.post(f"tasks/{segment(task_id)}/cancel")
        say(PROGRAM, f"task {task_id} is being cancelled", f"'operis task {task_id}' shows how it ended")
    else:
        say(
            PROGRAM,
            f"task {task_id} goes on on {task['box_id']}",
            f"{_look(task)}, '{PROGRAM} cancel {task_id}' ends it",
        )


def _look(task: dict[str, Any]) -> str:
    """How to see what becomes of it: a browser task has no output to follow."""
    if task.get("kind") == "browser.run":
        return f"'{PROGRAM} task {task['id']}' shows how it is"
    return f"'{PROGRAM} logs {task['id']} -f' follows it"

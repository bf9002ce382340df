"""Handing a task to the box and staying with it: made once, followed to its end, ended by Ctrl-C."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from appliance.client.box import PROGRAM, Box, task_path
from appliance.client.follow import Follower
from appliance.client.interrupts import Interrupts
from appliance.errors import BrokenOff, Declined, NotRunning, OperatorError
from cloudsync.terminal.ending import say
from cloudsync.terminal.script import by_flags
from cloudsync.terminal.sink import Sink, Stream
from cloudsync.terminal.status_line import StatusLine
from cloudsync.terminal.streams import drop_output, why_unwritten

# Pauses between attempts to hand the task over: together as long as a daemon takes to start again.
RETRY_S: Final = (0.3, 0.7, 1.5)


class Left(Exception):
    """The owner leaves; the task goes on. What becomes of it has been said."""


def create(box: Box, body: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Hand the task over; sent again with the same key where no answer came, so that it is made once."""
    headers = {"Idempotency-Key": f"{PROGRAM}-{secrets.token_hex(16)}"}
    pauses = iter(RETRY_S)
    sent = False
    while True:
        try:
            return box.post("/tasks", body, headers)
        except (BrokenOff, NotRunning) as error:
            sent = sent or isinstance(error, BrokenOff)
            pause_s = next(pauses, None)
            if not sent or pause_s is None:
                raise
            time.sleep(pause_s)
        except Declined as declined:
            if not declined.fields:
                raise
            hint = f"'{PROGRAM} {command} --help' shows what is allowed"
            raise Declined(declined.status, by_flags(declined.fields), hint, declined.fields) from declined


def to_end(
    box: Box,
    task: dict[str, Any],
    sinks: Mapping[Stream, Sink],
    on_step: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Follow a task until it is over; the task as it ended. `Left` after a second Ctrl-C."""
    status = StatusLine(PROGRAM)
    task_id = task["id"]
    look = f"{PROGRAM} task {task_id} --data {box.data}"
    with Interrupts() as interrupts:
        asked = False

        def cancel_where_asked() -> None:
            nonlocal asked
            if interrupts.count and not asked:
                asked = True
                status.say(f"task {task_id} is being cancelled; Ctrl-C again leaves it")
                box.post(f"{task_path(task_id)}/cancel")

        follower = Follower(box, task, sinks, status, on_step=on_step, on_look=cancel_where_asked)
        try:
            return follower.to_end()
        except KeyboardInterrupt:
            status.clear()
            say(PROGRAM, f"task {task_id} is left to itself; it was told to end", f"'{look}' shows how it is")
            raise Left from None
        except OperatorError as error:
            status.clear()
            raise type_of(error)(f"{error}; task {task_id} goes on", f"'{look}' shows how it is") from error
        except OSError as error:
            drop_output()
            status.clear()
            end = f"{PROGRAM} cancel {task_id} --data {box.data}"
            say(PROGRAM, f"{why_unwritten(error)}; task {task_id} goes on", f"'{end}' ends it")
            raise Left from None


def type_of(error: OperatorError) -> type[OperatorError]:
    """The kind of error that says the same of a task; one with more to it becomes a plain one."""
    return type(error) if isinstance(error, BrokenOff | NotRunning) else OperatorError

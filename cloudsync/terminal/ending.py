"""How a command ends that ran a task: the task's own exit status, or one of ours with a word about why."""

import sys
from typing import Any, Final, assert_never

from cloudsync.task import TaskState
from cloudsync.terminal.table import plain

TIMED_OUT: Final = 124
OURS: Final = 255


def exit_status(program: str, task: dict[str, Any], state: TaskState, *, failed: int = OURS) -> int:
    """What the command ends with; says on stderr why, where the task did not end by itself.

    `failed` is for a task that failed without an exit status of its own.
    """
    code = task.get("exit_code")
    match state:
        case TaskState.SUCCEEDED:
            return 0
        case TaskState.FAILED if isinstance(code, int):
            return code
        case TaskState.FAILED:
            say_end(program, task)
            return failed
        case TaskState.TIMED_OUT:
            say_end(program, task)
            return TIMED_OUT
        case (
            TaskState.CANCELLED
            | TaskState.INTERRUPTED
            | TaskState.EXPIRED
            | TaskState.REJECTED
            | TaskState.QUEUED
            | TaskState.ACCEPTED
            | TaskState.RUNNING
        ):
            say_end(program, task)
            return OURS
        case _:
            assert_never(state)


def say_end(program: str, task: dict[str, Any]) -> None:
    """How the task ended, why, and what to do about it."""
    error = task.get("error") or {}
    words = str(task["state"]).replace("_", " ")
    message = str(error.get("message") or "")
    say(program, f"task {task['id']} {words}" + (f": {message}" if message else ""), str(error.get("hint") or ""))


def say(program: str, message: str, hint: str = "") -> None:
    """A sentence on stderr, and what to do."""
    lines = [f"{program}: {message}", *([f"hint: {hint}"] if hint else [])]
    print(*(plain(line) for line in lines), sep="\n", file=sys.stderr)

"""`operis run`: hand a script to a box, show its output as it comes, and end as it ended."""

import argparse
import json
import secrets
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from cloudsync.task import TaskState
from hub.client import boxes, waiting
from hub.client.errors import ClientError, Misuse, Refused, Unreachable
from hub.client.follow import Follower
from hub.client.http import Hub, segment
from hub.client.sink import STREAMS, Sink, Stream

TIMED_OUT: Final = 124
OURS: Final = 255
# Pauses between attempts to hand the task over: together as long as a hub takes to start again.
RETRY_S: Final = (0.3, 0.7, 1.5)
_FLAGS: Final = {
    "timeout_s": "--timeout",
    "deliver_within_s": "--deliver-within",
    "env": "--env",
    "cwd": "--cwd",
    "stdin": "--stdin",
    "command": "the command",
}


def script_of(words: Sequence[str]) -> str:
    """One word is a script as it is, several are a command and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def body_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The task's spec; what is not given is left to the hub."""
    if not any(word.strip() for word in arguments.words):
        raise Misuse("no command is given", f"write it after --, as in: operis run {arguments.box} -- uptime")
    body: dict[str, Any] = {"kind": "bash.exec", "command": script_of(arguments.words)}
    if arguments.stdin is not None:
        body["stdin"] = _stdin(arguments.stdin)
    if arguments.env:
        body["env"] = _env(arguments.env)
    for name in ("cwd", "timeout_s", "deliver_within_s"):
        if (value := getattr(arguments, name)) is not None:
            body[name] = value
    if arguments.idempotent:
        body["idempotent"] = True
    return body


def run(hub: Hub, arguments: argparse.Namespace) -> int:
    """Run the command; the exit status is the task's own, 124 where it timed out, 255 for anything of ours."""
    task = create(hub, arguments.box, body_of(arguments))
    if arguments.detach:
        print(json.dumps(task) if arguments.json else task["id"])
        return 0
    status = waiting.StatusLine()
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
        _say(f"nobody reads the output any more; task {task['id']} goes on", f"'operis cancel {task['id']}' ends it")
        raise
    if arguments.json:
        print(json.dumps(task))
    return exit_status(task)


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
    wrong = []
    for field, message in refused.fields:
        name, _, inside = field.removesuffix(".[key]").partition(".")
        flag = _FLAGS.get(name, name) + (f" {inside}" if inside else "")
        wrong.append(f"{flag}: {message.removeprefix('Value error, ').removeprefix('Input ')}")
    return Refused(refused.status, "; ".join(wrong), "'operis run --help' shows what is allowed", refused.fields)


def live_sinks() -> dict[Stream, Sink]:
    """Where a task's output goes: its stdout to ours, its stderr to ours."""
    files = {"stdout": sys.stdout, "stderr": sys.stderr}
    return {name: Sink(name, files[name].buffer, live=files[name].isatty()) for name in STREAMS}


def exit_status(task: dict[str, Any]) -> int:
    """What the command ends with; says on stderr why, where the task did not end by itself."""
    state = waiting.state_of(task)
    code = task.get("exit_code")
    match state:
        case TaskState.SUCCEEDED:
            return 0
        case TaskState.FAILED if isinstance(code, int):
            return code
        case TaskState.TIMED_OUT:
            _say_end(task)
            return TIMED_OUT
        case (
            TaskState.FAILED
            | TaskState.CANCELLED
            | TaskState.INTERRUPTED
            | TaskState.EXPIRED
            | TaskState.REJECTED
            | TaskState.QUEUED
            | TaskState.ACCEPTED
            | TaskState.RUNNING
        ):
            _say_end(task)
            return OURS
        case _:
            assert_never(state)


def _say_end(task: dict[str, Any]) -> None:
    error = task.get("error") or {}
    words = str(task["state"]).replace("_", " ")
    message = str(error.get("message") or "")
    _say(f"task {task['id']} {words}" + (f": {message}" if message else ""), str(error.get("hint") or ""))


def _say(message: str, hint: str = "") -> None:
    print(f"operis: {message}", *([f"hint: {hint}"] if hint else []), sep="\n", file=sys.stderr)


def _interrupted(hub: Hub, task: dict[str, Any], *, cancel: bool) -> int:
    task_id = task["id"]
    if cancel:
        hub.post(f"tasks/{segment(task_id)}/cancel")
        _say(f"task {task_id} is being cancelled", f"'operis task {task_id}' shows how it ended")
    else:
        _say(
            f"task {task_id} goes on on {task['box_id']}",
            f"'operis logs {task_id} -f' follows it, 'operis cancel {task_id}' ends it",
        )
    return OURS


def _stdin(name: str) -> str:
    what = "standard input" if name == "-" else f"--stdin {name}"
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Misuse(f"{what} cannot be read: {error.strerror}", "name a file, or - for standard input") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        hint = "a task's input is text: encode bytes, as with base64, and decode them in the script"
        raise Misuse(f"{what} is not valid UTF-8 (byte {error.start})", hint) from error


def _env(pairs: Sequence[str]) -> dict[str, str]:
    env = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise Misuse(f"--env '{pair}' is not NAME=VALUE", "write it as in --env LANG=C.UTF-8")
        env[name] = value
    return env

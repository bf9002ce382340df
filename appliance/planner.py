"""What a box does next: decided here from what is known, done by the executor.

Three decisions: what becomes of a command, how a task ended, and, after a daemon, a spawner or the machine was
stopped, what is true of a task that the journal has as running. None of them looks at the clock or at the system.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from cloudsync import spec as specs
from cloudsync.messages import COMMAND, Cancel, Run, describe
from cloudsync.spec import KINDS, SPEC, ErrorBody, TaskSpec, encode_spec, spec_digest
from cloudsync.task import TaskState

# What is quoted in a message may be as long as an entry, and several times that when encoded.
_QUOTE_LIMIT: Final = 2000
# An id names a folder and, with the attempt behind it, a process marker.
_TASK_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}\Z")


class Intent(StrEnum):
    """Why a running task is being ended; it names the outcome."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    STOP = "stop"
    BEGIN_ANEW = "begin_anew"


# Commands


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the task on."""

    run: Run
    spec: TaskSpec
    spec_json: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Record the task as `state` (rejected or expired) with this error. `is_known`: another task has that id."""

    task_id: str
    state: TaskState
    error: ErrorBody
    run: Run | None = None
    spec_json: str = "{}"
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class CancelTask:
    """End this task."""

    task_id: str
    by: str


@dataclass(frozen=True, slots=True)
class Flag:
    """Report that the command was not understood."""

    message: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """It was done before, or there is nothing to do."""


Step = Accept | Refuse | CancelTask | Flag | Ignore


def plan_command(entry: object, known_digest: Callable[[str], str | None], *, refusal: ErrorBody | None) -> Step:
    """What to do about one entry of the command log.

    `known_digest` gives the spec's digest of a task id that this box has had. `refusal` says why no task is accepted
    now, if so. Nothing raises: a log never stalls on content.
    """
    try:
        command = COMMAND.validate_python(entry)
    except ValidationError as error:
        return _not_understood(entry, _short(describe(error)))
    if not _TASK_ID.match(command.task_id):
        return Flag("task_id: has letters, digits and _ . : - only and at most 128 of them")
    match command:
        case Cancel():
            return CancelTask(command.task_id, _short(command.by))
        case Run():
            return _plan_run(command, known_digest, refusal)


def _plan_run(run: Run, known_digest: Callable[[str], str | None], refusal: ErrorBody | None) -> Step:
    known = known_digest(run.task_id)
    try:
        spec = SPEC.validate_python(run.spec)
    except ValidationError as error:
        kind = run.spec.get("kind")
        if kind not in KINDS:
            body = ErrorBody(
                code="unknown_kind",
                message=f"this box knows no task of kind {_short(repr(kind))}; it knows {', '.join(KINDS)}",
                hint="Use a kind that it knows, or update the box.",
            )
        else:
            message = _short(describe(error))
            body = ErrorBody(code="invalid_spec", message=message, hint="Correct the task and send it again.")
        return Refuse(run.task_id, TaskState.REJECTED, body, run, is_known=known is not None)
    spec_json = encode_spec(spec)
    if known is not None:
        if known == spec_digest(spec_json):
            return Ignore()
        body = ErrorBody(
            code="id_reused",
            message=f"task {run.task_id} was another task before: an id is never used twice",
            hint="Send it under a new id.",
        )
        return Refuse(run.task_id, TaskState.REJECTED, body, run, spec_json, is_known=True)
    if run.remaining_s <= 0:
        body = ErrorBody(
            code="expired",
            message="the task reached the box after the time within which it was to be delivered",
            hint="Send it again, with a longer deliver_within_s where the box is often away.",
        )
        return Refuse(run.task_id, TaskState.EXPIRED, body, run, spec_json)
    if refusal is not None:
        return Refuse(run.task_id, TaskState.REJECTED, refusal, run, spec_json)
    return Accept(run, spec, spec_json)


def _not_understood(entry: object, message: str) -> Step:
    """A command that names a task is answered for that task; any other is flagged."""
    body: dict[Any, Any] = entry if isinstance(entry, dict) else {}
    task_id = body.get("task_id")
    if body.get("type") == "run" and isinstance(task_id, str) and _TASK_ID.match(task_id):
        error = ErrorBody(
            code="not_understood",
            message=f"this box does not understand the command: {message}",
            hint="Box and hub may be of different versions: update the older one.",
        )
        return Refuse(task_id, TaskState.REJECTED, error, is_known=True)
    return Flag(message)


def _short(text: str) -> str:
    return text if len(text) <= _QUOTE_LIMIT else f"{text[:_QUOTE_LIMIT]} …"


# Ends


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended; where `retry`, its next attempt runs instead."""

    state: TaskState
    exit_code: int | None = None
    error: ErrorBody | None = None
    retry: bool = False


def plan_end(exit_code: int | None, signal: int | None, intent: Intent | None, by: str, timeout_s: float) -> Ending:
    """How a task ended whose process was seen to end."""
    code = exit_code if signal is None else 128 + signal
    if intent is None:
        return Ending(TaskState.SUCCEEDED if code == 0 else TaskState.FAILED, code)
    return intended(intent, by, timeout_s, code)


def intended(intent: Intent, by: str, timeout_s: float, exit_code: int | None = None) -> Ending:
    """The outcome that an intent names."""
    match intent:
        case Intent.CANCEL:
            who = f" by {by}" if by else ""
            return Ending(
                TaskState.CANCELLED, exit_code, ErrorBody(code="cancelled", message=f"cancelled{who} while it ran")
            )
        case Intent.TIMEOUT:
            error = ErrorBody(
                code="timed_out",
                message=f"ended after {timeout_s:g} s",
                hint="Give it a longer timeout_s, or make it quicker.",
            )
            return Ending(TaskState.TIMED_OUT, exit_code, error)
        case Intent.STOP:
            return _interrupted("stopped", "the box's daemon was told to stop and to end its tasks", exit_code)
        case Intent.BEGIN_ANEW:
            text = "the box began a new incarnation, which ended what ran"
            return _interrupted("incarnation_ended", text, exit_code)


def _interrupted(code: str, message: str, exit_code: int | None = None) -> Ending:
    hint = "Look on the box how far it came before you run it again; idempotent tasks are retried by themselves."
    return Ending(TaskState.INTERRUPTED, exit_code, ErrorBody(code=code, message=message, hint=hint))


def spawn_failed(message: str) -> Ending:
    """No process came to be."""
    hint = "Correct what it names, in the task or on the box, and run it again."
    return Ending(TaskState.FAILED, None, ErrorBody(code="spawn_failed", message=_short(message), hint=hint))


# After a stop


class Loss(StrEnum):
    """What took the process of a running task away."""

    SPAWNER_KILLED = "spawner_killed"
    BROWSER_LOST = "browser_lost"
    BOX_RESTARTED = "box_restarted"
    POWER_CUT = "power_cut"


_LOSS: Final = {
    Loss.SPAWNER_KILLED: "the process that runs the box's tasks was killed, and the task with it",
    Loss.BROWSER_LOST: "the browser ended with the box's daemon or with the spawner while the task ran",
    Loss.BOX_RESTARTED: "the box was restarted while the task ran",
    Loss.POWER_CUT: "the box lost its power or was reset while the task ran",
}


@dataclass(frozen=True, slots=True)
class Running:
    """A task that the journal has as running."""

    attempt: int
    boot_id: str
    is_browser: bool
    is_idempotent: bool
    timeout_s: float
    intent: Intent | None
    by: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the system says of its attempt. `was_started` may also be true where it was only about to be."""

    boot_id: str
    has_exit: bool
    exit_code: int | None
    signal: int | None
    is_alive: bool
    was_started: bool
    stopped_in_order: bool


class Verdict(StrEnum):
    """What is done about a running task."""

    RECORD = "record"  # its end was written down by the spawner
    ADOPT = "adopt"  # it runs: watch it again
    START = "start"  # it never started: the same attempt is started now
    LOST = "lost"  # it is gone: the rest of its tree is killed, then `ending` holds


@dataclass(frozen=True, slots=True)
class Recovery:
    """The verdict on a running task; `ending` for RECORD and LOST."""

    verdict: Verdict
    ending: Ending | None = None


def recover(task: Running, evidence: Evidence) -> Recovery:
    """What is true of a task that was running when this daemon, its spawner or the machine stopped."""
    is_same_boot = task.boot_id == evidence.boot_id
    if is_same_boot and evidence.has_exit:
        ending = plan_end(evidence.exit_code, evidence.signal, task.intent, task.by, task.timeout_s)
        return Recovery(Verdict.RECORD, ending)
    if is_same_boot and evidence.is_alive:
        return Recovery(Verdict.ADOPT)
    if task.intent is not None:
        return Recovery(Verdict.LOST, intended(task.intent, task.by, task.timeout_s))
    if is_same_boot and not evidence.was_started:
        return Recovery(Verdict.START)
    after_boot = Loss.BOX_RESTARTED if evidence.stopped_in_order else Loss.POWER_CUT
    in_boot = Loss.BROWSER_LOST if task.is_browser else Loss.SPAWNER_KILLED
    loss = in_boot if is_same_boot else after_boot
    ending = _interrupted(str(loss), _LOSS[loss])
    if task.is_idempotent and task.attempt < specs.MAX_ATTEMPTS:
        ending = Ending(ending.state, None, ending.error, retry=True)
    return Recovery(Verdict.LOST, ending)

"""What a task waits for, in words, and the place where a waiting operator reads it."""

import sys
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import Any, Final, TextIO, assert_never

from cloudsync.task import FINAL, Delivery, TaskState
from hub.client import times
from hub.client.errors import ClientError

# A quick task shows no status at all: on a terminal that would be a flicker, in a log a line too many.
TERMINAL_DELAY_S: Final = 0.4
LOG_DELAY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no end yet. `kind` stays the same while only durations in `text` grow."""

    kind: str
    text: str


def state_of(task: dict[str, Any]) -> TaskState:
    """The task's state; `ClientError` for one that this client does not know."""
    try:
        return TaskState(str(task.get("state")))
    except ValueError as error:
        raise ClientError(
            f"the hub says that task {task.get('id')} is '{task.get('state')}', which this operis does not know",
            "update operis to the hub's version",
        ) from error


def is_final(task: dict[str, Any]) -> bool:
    """Whether the task has ended."""
    return state_of(task) in FINAL


def away(box: dict[str, Any] | None, now: float) -> str:
    """Why a box cannot be reached now; empty where it can, or where nothing is known of it."""
    if box is None:
        return ""
    name = box.get("id")
    match box.get("status"):
        case "connected":
            return ""
        case "never":
            return f"{name} has never connected"
        case "quarantined" | "revoked":
            why = box.get("why")
            return f"{name} is {box['status']}" + (f" ({why})" if why else "")
        case _:
            seen = times.parse(box.get("last_seen_at"))
            return f"{name} not connected" + ("" if seen is None else f" for {times.coarse(now - seen)}")


def reason(task: dict[str, Any], box: dict[str, Any] | None, now: float) -> Reason:
    """What a task waits for. `box` is None where it could not be asked."""
    absent = away(box, now)
    beside = f", {absent}" if absent else ""
    state = state_of(task)
    match state:
        case TaskState.QUEUED if task.get("delivery") == Delivery.UNSENT:
            why = absent or f"{task.get('box_id')} is connected, it is about to be sent"
            until = times.minute(task.get("deliver_by"))
            return Reason(f"queued {_stable(absent)}", f"queued: {why}" + (f" (until {until})" if until else ""))
        case TaskState.QUEUED:
            return Reason(f"sent {_stable(absent)}", f"sent, unconfirmed{beside}")
        case TaskState.ACCEPTED:
            return Reason(
                f"accepted {_stable(absent)}", f"accepted: waits for its turn on {task.get('box_id')}{beside}"
            )
        case TaskState.RUNNING:
            started = times.parse(task.get("started_at"))
            ran = "" if started is None else f" {times.coarse(now - started)}"
            return Reason(f"running {_stable(absent)}", f"running{ran}{beside}")
        case (
            TaskState.SUCCEEDED
            | TaskState.FAILED
            | TaskState.TIMED_OUT
            | TaskState.CANCELLED
            | TaskState.INTERRUPTED
            | TaskState.EXPIRED
            | TaskState.REJECTED
        ):
            return Reason("ended", str(state))
        case _:
            assert_never(state)


def _stable(absent: str) -> str:
    return absent.partition(" for ")[0]


class StatusLine:
    """Says on stderr what is waited for: one line rewritten in place on a terminal, else a line when it changes."""

    def __init__(self, file: TextIO | None = None, *, quiet: bool = False) -> None:
        self._file = sys.stderr if file is None else file
        self._quiet = quiet
        self._shown = False
        self._kind = ""
        self.in_place = self._file.isatty()

    @property
    def delay_s(self) -> float:
        """How long a wait lasts before it is worth a word."""
        return TERMINAL_DELAY_S if self.in_place else LOG_DELAY_S

    def show(self, why: Reason) -> None:
        """Show it; in a log only where it is another than before, and that a task runs only as news after a wait."""
        if self._quiet:
            return
        if self.in_place:
            width = get_terminal_size().columns
            text = f"operis: {why.text}"
            self._file.write(f"\r\x1b[K{text if len(text) < width else text[: max(1, width - 2)] + '…'}")
            self._file.flush()
            self._shown = True
        elif why.kind != self._kind and (self._kind or why.kind.strip() != "running"):
            self._file.write(f"operis: {why.text}\n")
            self._file.flush()
            self._kind = why.kind

    def clear(self) -> None:
        """Take the line away, before anything else is written to the terminal."""
        if self._shown:
            self._file.write("\r\x1b[K")
            self._file.flush()
            self._shown = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._file.write(f"operis: {text}\n")
        self._file.flush()

    def more(self, text: str) -> None:
        """A line that belongs to the one before."""
        self._file.write(f"  {text}\n")
        self._file.flush()

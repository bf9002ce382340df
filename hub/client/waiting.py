"""What a task waits for, in words."""

from typing import Any, assert_never

from cloudsync.task import FINAL, Delivery, TaskState
from cloudsync.terminal import times
from cloudsync.terminal.status_line import Reason
from hub.client.errors import ClientError


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

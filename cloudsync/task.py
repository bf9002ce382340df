"""The life of a task: its states, and who may move it from one to the next.

Theory of operation. A task has one state and is moved by two parties. The hub alone moves a task that has never left
it (`delivery` unsent: it has no command seq). Once it has a seq only the box moves it, with one exception: when the
hub closes an incarnation of the box, what was sent and is unfinished becomes `interrupted`. The box reports each move
as an event; events may skip states (a task that finds a free slot goes from queued to running at once), never go
back. A final state is final, except that the box's own final event replaces a final state that the hub had set: what
the box saw is the truth.
"""

from enum import StrEnum
from typing import Final


class TaskState(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Delivery(StrEnum):
    """What the hub knows of a task's way to its box."""

    UNSENT = "unsent"
    SENT = "sent"
    CONFIRMED = "confirmed"


class Party(StrEnum):
    """Who moves a task."""

    HUB = "hub"
    BOX = "box"


class Origin(StrEnum):
    """Where a task was made."""

    HUB = "hub"
    LOCAL = "local"
    SCHEDULE = "schedule"


_S = TaskState

# (state, was it sent) -> mover -> next states. What is not here may not happen.
TRANSITIONS: Final[dict[tuple[TaskState, bool], dict[Party, frozenset[TaskState]]]] = {
    (_S.QUEUED, False): {Party.HUB: frozenset({_S.EXPIRED, _S.CANCELLED})},
    (_S.QUEUED, True): {
        Party.BOX: frozenset({_S.ACCEPTED, _S.RUNNING, _S.REJECTED, _S.EXPIRED, _S.CANCELLED}),
        Party.HUB: frozenset({_S.INTERRUPTED}),
    },
    (_S.ACCEPTED, True): {
        Party.BOX: frozenset({_S.RUNNING, _S.CANCELLED, _S.INTERRUPTED}),
        Party.HUB: frozenset({_S.INTERRUPTED}),
    },
    (_S.RUNNING, True): {
        Party.BOX: frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.CANCELLED, _S.INTERRUPTED, _S.RUNNING}),
        Party.HUB: frozenset({_S.INTERRUPTED}),
    },
}

# A state is its own word: the text of one, from a row or from JSON, is in it as well.
FINAL: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMED_OUT, _S.CANCELLED, _S.INTERRUPTED, _S.EXPIRED, _S.REJECTED})

# How far along a state is: an event that would lead back is late news and changes nothing.
RANK: Final[dict[TaskState, int]] = dict.fromkeys(FINAL, 3) | {_S.QUEUED: 0, _S.ACCEPTED: 1, _S.RUNNING: 2}


def moves(state: TaskState, *, sent: bool, by: Party) -> frozenset[TaskState]:
    """The states that `by` may move a task to; empty where it may not move it."""
    return TRANSITIONS.get((state, sent), {}).get(by, frozenset())


def box_event_counts(current: TaskState, news: TaskState, *, final_by_hub: bool) -> bool:
    """Whether the box's event moves the hub's copy of the task: forward always, over a final state only the hub's."""
    if current in FINAL:
        return final_by_hub and news in FINAL
    return RANK[news] >= RANK[current]

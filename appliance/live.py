"""The tasks that a box has in hand: accepted and not over, and what the executor knows of each beside its row."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from appliance.folder import DataFolder, attempt_key
from appliance.planner import Intent, Running
from cloudsync.messages import LocalTask
from cloudsync.spec import SPEC, BashExec, BrowserRun, Outcome, StepResult, TaskSpec
from cloudsync.task import Origin, TaskState


@dataclass(slots=True, eq=False)
class LiveTask:
    """One task between its acceptance and its end. Times are Unix ms; `started_boot_s` is CLOCK_BOOTTIME."""

    id: str
    spec: TaskSpec
    spec_json: str
    origin: Origin
    created_by: str
    created_at_ms: int
    accepted_at_ms: int
    state: TaskState = TaskState.ACCEPTED
    attempt: int = 0
    boot_id: str = ""
    folder: Path = field(default=Path())
    started_at_ms: int | None = None
    started_boot_s: float | None = None
    intent: Intent | None = None
    intent_by: str = ""
    is_due: bool = False
    """That it runs is durable: its process may be ordered."""
    is_followed: bool = False
    """The spawner will tell this daemon when nothing of the attempt lives any more."""
    steps: dict[int, StepResult] = field(default_factory=dict)
    """Of a browser task: what the steps of this attempt gave, by number from 0 on."""
    notes: list[str] = field(default_factory=list)
    """Of a browser task: what its maker should know beside that."""

    @classmethod
    def from_row(cls, row: dict[str, Any], folder: DataFolder) -> Self:
        """As the journal has it."""
        return cls(
            id=row["id"],
            spec=SPEC.validate_json(row["spec"]),
            spec_json=row["spec"],
            origin=Origin(row["origin"]),
            created_by=row["created_by"],
            created_at_ms=row["created_at"],
            accepted_at_ms=row["accepted_at"],
            state=TaskState(row["state"]),
            attempt=row["attempt"],
            boot_id=row["boot_id"] or "",
            folder=folder.attempt(row["id"], row["attempt"]),
            started_at_ms=row["started_at"],
            intent=None if row["intent"] is None else Intent(row["intent"]),
            intent_by=row["intent_by"] or "",
            is_due=row["state"] == TaskState.RUNNING,
        )

    @property
    def stdin(self) -> str | None:
        """What a bash task reads as its standard input, where it reads any."""
        return self.spec.stdin if isinstance(self.spec, BashExec) else None

    @property
    def key(self) -> str:
        """The spawner's name for the attempt that runs."""
        return attempt_key(self.id, self.attempt)

    @property
    def deadline_boot_s(self) -> float | None:
        """When its time is over on CLOCK_BOOTTIME; None before it started."""
        return None if self.started_boot_s is None else self.started_boot_s + self.spec.timeout_s

    def as_running(self) -> Running:
        """What the planner needs to know of it."""
        return Running(
            attempt=self.attempt,
            boot_id=self.boot_id,
            is_browser=isinstance(self.spec, BrowserRun),
            is_idempotent=self.spec.idempotent,
            timeout_s=self.spec.timeout_s,
            intent=self.intent,
            by=self.intent_by,
        )

    def made_here(self) -> LocalTask | None:
        """What the hub must be told of a task that it did not make."""
        if self.origin is Origin.HUB:
            return None
        return LocalTask(
            spec=self.spec.model_dump(mode="json", exclude_none=True),
            origin=self.origin,
            created_by=self.created_by,
            created_at_ms=self.created_at_ms,
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that is over."""

    task_id: str
    state: TaskState
    outcome: Outcome


def browser_spec(task: LiveTask) -> BrowserRun:
    """The spec of a browser task; `TypeError` where it is no such task."""
    if not isinstance(task.spec, BrowserRun):
        raise TypeError(f"task {task.id} is no browser task")
    return task.spec


NS_PER_S: Final = 1_000_000_000


def now_ms() -> int:
    """The wall clock, in Unix ms."""
    return time.time_ns() // 1_000_000


def boot_s() -> float:
    """CLOCK_BOOTTIME: seconds since boot, the time in suspend included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / NS_PER_S

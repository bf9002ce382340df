"""One commit in the making: the rows, the events that report them, and what to do when both are durable."""

import os
import random
from collections.abc import Callable, Sequence

from appliance.journal import ADD_TASK, END_TASK, FORGET_STEPS, INTEND, RUN_TASK, Journal
from appliance.live import LiveTask, now_ms
from appliance.outbox import Outbox
from appliance.planner import Refuse
from appliance.writer import Statement
from cloudsync.messages import ArtifactEvent, FlaggedEvent, LocalTask, Message, TaskEvent, encode_entry
from cloudsync.spec import BrowserRun, Outcome
from cloudsync.task import Origin, TaskState

# Seeded by the system once: an id must be unlike any other, not unforeseeable.
_chance = random.Random(os.urandom(32))


def new_event_id() -> str:
    """Random: the ledger knows an event by it whatever its seq becomes.

    It begins with the time, so that the ledger's index of millions of them grows at its end: an id without it would
    cost another page in each commit of the hub.
    """
    return f"{now_ms():012x}{_chance.getrandbits(80):020x}"


def task_event(
    task: LiveTask, state: TaskState, at_ms: int, outcome: Outcome | None = None, made_here: LocalTask | None = None
) -> TaskEvent:
    """The event that says where a task has come to."""
    return TaskEvent(
        id=new_event_id(),
        task_id=task.id,
        state=state,
        at_ms=at_ms,
        attempt=task.attempt,
        boot_id=task.boot_id,
        outcome=outcome,
        made_here=made_here,
    )


class Batch:
    """Gathers statements and events in order; `commit` hands them to the journal, `then` runs when they are durable."""

    def __init__(self, journal: Journal, outbox: Outbox) -> None:
        self._journal = journal
        self._outbox = outbox
        self._statements: list[Statement] = []
        self._bodies: list[str] = []
        self._first_seq = 0
        self._is_final = False
        self._then: list[Callable[[], None]] = []

    def add(self, statement: Statement) -> None:
        """Any other change."""
        self._statements.append(statement)

    def then(self, call: Callable[[], None]) -> None:
        """Call this when the batch is durable, after what was asked before."""
        self._then.append(call)

    def event(self, event: TaskEvent | FlaggedEvent | ArtifactEvent) -> int:
        """Enter an event into the log; its seq."""
        return self.body(event, event.at_ms, encode_entry(event))

    def body(self, event: Message, at_ms: int, body: str) -> int:
        """Enter an event that is encoded already; its seq."""
        seq, statement = self._journal.next_event(at_ms, body)
        if not self._bodies:
            self._first_seq = seq
        self._bodies.append(body)
        self._statements.append(statement)
        self._is_final |= not (isinstance(event, TaskEvent) and event.outcome is None)
        return seq

    def insert(self, task: LiveTask) -> None:
        """Enter a task as accepted or running."""
        self._statements.append(
            (
                ADD_TASK,
                (
                    task.id,
                    task.origin.value,
                    task.state.value,
                    task.spec_json,
                    task.created_by,
                    task.created_at_ms,
                    task.accepted_at_ms,
                    task.attempt,
                    task.boot_id,
                    task.started_at_ms,
                    None,
                    None,
                    None,
                ),
            )
        )

    def insert_refused(self, refusal: Refuse, at_ms: int, seq: int) -> None:
        """Enter a task that is over before it began, so that its id is known."""
        run = refusal.run
        created_by, created_at_ms = ("", at_ms) if run is None else (run.created_by, run.created_at_ms)
        values = (
            refusal.task_id,
            Origin.HUB.value,
            refusal.state.value,
            refusal.spec_json,
            created_by,
            created_at_ms,
            None,
            0,
            None,
            None,
            at_ms,
            refusal.error.code,
            seq,
        )
        self._statements.append((ADD_TASK, values))

    def run(self, task: LiveTask) -> None:
        """accepted, running -> running."""
        self._statements.append((RUN_TASK, (task.attempt, task.boot_id, task.started_at_ms, task.id)))

    def intend(self, task: LiveTask) -> None:
        """Why it is about to be ended."""
        intent = None if task.intent is None else task.intent.value
        self._statements.append((INTEND, (intent, task.intent_by, task.id)))

    def end(self, task: LiveTask, outcome: Outcome, state: TaskState, seq: int) -> None:
        """To a final state, whose event is `seq`."""
        error_code = None if outcome.error is None else outcome.error.code
        values = (state.value, task.started_at_ms, outcome.ended_at_ms, outcome.exit_code, error_code, seq, task.id)
        self._statements.append((END_TASK, values))
        if isinstance(task.spec, BrowserRun):
            self._statements.append((FORGET_STEPS, (task.id,)))

    def commit(self) -> None:
        """Hand it over."""
        if self._statements:
            self._journal.commit(self._statements, self._durable)
        else:
            self._call(self._then)

    def _durable(self) -> None:
        if self._bodies:
            self._outbox.add(self._first_seq, self._bodies, is_final=self._is_final)
        self._call(self._then)

    @staticmethod
    def _call(calls: Sequence[Callable[[], None]]) -> None:
        for call in calls:
            call()

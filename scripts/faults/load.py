"""Keeps tasks in flight: submits job after job, each again under its key until the hub answers."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.faults.jobs import Job, make_job
from tests.system.api import Api, Unreachable
from tests.system.plant import Plant, read_rows

SUBMITTERS: Final = 6
RETRY_S: Final = 0.03
LOOK_S: Final = 0.03
ANSWER_LIMIT_S: Final = 15.0
# One job in so many waits for its end in the request that makes it.
WAITING: Final = 12
OPEN: Final = "SELECT id, state, delivery FROM tasks WHERE state IN ('queued', 'accepted', 'running')"


@dataclass
class Submission:
    """What was asked for, and every id that the hub answered for it."""

    job: Job
    ids: set[str] = field(default_factory=set)
    unanswered: int = 0
    """How many requests got no answer, so that nobody could know whether the task was made."""


class Load:
    """Submits from threads of its own while fewer than `in_flight` tasks are open, or more are wanted at once."""

    def __init__(self, plant: Plant, box_id: str, seed: int, diary: Path, in_flight: int) -> None:
        self.submissions: list[Submission] = []
        self.refusals: list[str] = []
        """Answers that no request of ours deserves."""
        self.hub_is_up = threading.Event()
        """Cleared while the hub is down, so that nobody opens its database beside its start."""
        self.hub_is_up.set()
        self._plant = plant
        self._api: Api = plant.api()
        self._box_id = box_id
        self._seed = seed
        self._diary = diary
        self._in_flight = in_flight
        self._extra = 0
        self._open = 0
        self._asking = 0
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._submit_all, daemon=True) for _ in range(SUBMITTERS)]
        self._threads.append(threading.Thread(target=self._look, daemon=True))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def burst(self, count: int) -> None:
        """Submit so many more at once, whatever is open."""
        with self._lock:
            self._extra += count

    def answered(self) -> set[str]:
        """The ids that the hub has answered so far."""
        with self._lock:
            return {task_id for one in self.submissions for task_id in one.ids}

    def stop(self) -> None:
        """Begin no further job; returns when each that was begun has its answer."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_S):
            if self.hub_is_up.is_set():
                found = read_rows(self._plant.hub.database, f"SELECT count(*) AS open FROM ({OPEN})")  # noqa: S608
                with self._lock:
                    self._open = found[0]["open"]

    def _next(self) -> Submission | None:
        with self._lock:
            if self._extra:
                self._extra -= 1
            elif self._open + self._asking >= self._in_flight:
                return None
            self._asking += 1
            submission = Submission(make_job(self._seed, len(self.submissions)))
            self.submissions.append(submission)
            return submission

    def _submit_all(self) -> None:
        while not self._is_over.is_set():
            submission = self._next()
            if submission is None:
                time.sleep(LOOK_S)
                continue
            try:
                self._submit(submission)
            finally:
                with self._lock:
                    self._asking -= 1
                    self._open += 1

    def _submit(self, submission: Submission) -> None:
        job = submission.job
        number = int(job.key.rpartition("-")[2])
        path = f"boxes/{self._box_id}/tasks" + ("?wait_s=3" if number % WAITING == 0 else "")
        headers = {"Idempotency-Key": job.key}
        while True:
            try:
                answer = self._api.ask("POST", path, job.body(self._diary), headers=headers, limit_s=ANSWER_LIMIT_S)
            except Unreachable:
                submission.unanswered += 1
                time.sleep(RETRY_S)
                continue
            if answer.status in {200, 201, 202}:
                with self._lock:
                    submission.ids.add(answer.json["id"])
                return
            if answer.status == 503:
                time.sleep(RETRY_S)
                continue
            self.refusals.append(f"{job.key}: {answer.status} {answer.data.decode(errors='replace')}")
            return

"""Judges a campaign: what the tasks themselves wrote down, held against what the hub says became of them.

A task adds one line to the diary as its first act and another as its last. The hub answers each request with an id,
and tells at the end the state of every task. From the kills is known which attempts had a spawner that was killed
while they ran. Everything else follows, and each contradiction is a breach.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudsync.spec import MAX_ATTEMPTS
from cloudsync.task import FINAL
from scripts.faults.jobs import Job


@dataclass(frozen=True)
class Breach:
    """A promise that was not kept."""

    promise: str
    about: str
    what: str


@dataclass(frozen=True)
class Entry:
    """A row of the ledger that came from the box, or of what the hub noted itself (incarnation '')."""

    incarnation: str
    seq: int
    kind: str
    task_id: str | None
    state: str | None


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end."""

    jobs: Mapping[str, Job]
    """By key."""
    answered: Mapping[str, frozenset[str]]
    """Every id that the hub answered, by key."""
    tasks: Mapping[str, Mapping[str, Any]]
    """What the API says of each task, by id."""
    diary: Sequence[str]
    at_risk: frozenset[str]
    """Attempts, as TASK.ATTEMPT, that may have run when a spawner was killed."""
    lost: frozenset[str]
    """Of these, the ones that certainly ran, so that nobody can know their end."""
    ledger: Sequence[Entry]
    orphans: Sequence[str] = ()
    folders: Sequence[str] = ()
    damaged: Sequence[str] = ()
    """What an integrity check says of the databases."""


def judge(evidence: Evidence) -> list[Breach]:
    """Every breach; none where all is as promised."""
    return [
        *_lost(evidence),
        *_made_twice(evidence),
        *_ran(evidence),
        *_ledger(evidence),
        *(Breach("no orphan outlives a start", "process", one) for one in evidence.orphans),
        *(Breach("no attempt's folder stays", "folder", one) for one in evidence.folders),
        *(Breach("no database is damaged", "database", one) for one in evidence.damaged),
    ]


def _lost(evidence: Evidence) -> Iterator[Breach]:
    for key, ids in evidence.answered.items():
        for task_id in ids:
            task = evidence.tasks.get(task_id)
            if task is None:
                yield Breach("none is lost", task_id, f"the hub answered it for {key} and does not know it")
            elif task["state"] not in FINAL:
                yield Breach("none is lost", task_id, f"it is {task['state']} after everything has drained")
    for key in evidence.jobs.keys() - evidence.answered.keys():
        yield Breach("none is lost", key, "the hub never answered for it")


def _made_twice(evidence: Evidence) -> Iterator[Breach]:
    for key, ids in evidence.answered.items():
        if len(ids) > 1:
            yield Breach("a key makes one task", key, f"the hub answered with {sorted(ids)}")
    known = {task_id for ids in evidence.answered.values() for task_id in ids}
    for task_id in evidence.tasks.keys() - known:
        yield Breach("a key makes one task", task_id, "it exists, and no request was answered with it")


def _ran(evidence: Evidence) -> Iterator[Breach]:
    starts: dict[str, list[str]] = defaultdict(list)
    ends: dict[str, list[str]] = defaultdict(list)
    for line in evidence.diary:
        mark, key, attempt = line.split(" ")
        (starts if mark == "s" else ends)[key].append(attempt)
        task_id = attempt.rpartition(".")[0]
        if task_id not in evidence.answered.get(key, frozenset()):
            yield Breach("only what was asked for runs", key, f"it ran as {attempt}")
        if starts[key] and attempt != starts[key][-1]:
            yield Breach("one attempt ends before the next", key, f"{attempt} was alive when {starts[key][-1]} ran")
    for key, ids in evidence.answered.items():
        for task_id in ids & evidence.tasks.keys():
            yield from _judge_task(evidence, evidence.jobs[key], evidence.tasks[task_id], starts[key], ends[key])


def _judge_task(
    evidence: Evidence, job: Job, task: Mapping[str, Any], starts: Sequence[str], ends: Sequence[str]
) -> Iterator[Breach]:
    task_id, state, attempt = task["id"], task["state"], task["attempt"]
    risked = [number for number in range(1, MAX_ATTEMPTS + 1) if f"{task_id}.{number}" in evidence.at_risk]
    for one, count in (Counter(starts) + Counter()).items():
        if count > 1:
            yield Breach("none starts twice", task_id, f"{one} started {count} times")
    if not job.is_idempotent and len(starts) > 1:
        yield Breach("none starts twice", task_id, f"it is not idempotent and started as {starts}")
    if len(starts) > MAX_ATTEMPTS:
        yield Breach("none starts twice", task_id, f"it started {len(starts)} times")
    # A retry has one cause only: the attempt before it was lost.
    lost_before = [number for number in range(1, attempt) if number not in risked]
    if lost_before or (attempt > 1 and not job.is_idempotent):
        yield Breach("none starts twice", task_id, f"attempt {attempt}, though {lost_before} were never at risk")
    if any(int(one.rpartition(".")[2]) > attempt for one in starts):
        yield Breach("attempts agree", task_id, f"the hub says attempt {attempt}, it started as {starts}")
    expected = "failed" if job.exit_code else "succeeded"
    last = f"{task_id}.{attempt}"
    if state == expected:
        if starts[-1:] != [last] or ends.count(last) != 1:
            yield Breach("succeeded ran once to its end", task_id, f"started as {starts}, ended as {ends}")
        if task["exit_code"] != job.exit_code:
            yield Breach("the exit status is its own", task_id, f"{task['exit_code']}, not {job.exit_code}")
        if task["stdout"] != job.stdout or task["truncated"]:
            what = f"{len(task['stdout'] or '')} characters, not {len(job.stdout)}; truncated: {task['truncated']}"
            yield Breach("the whole output arrives", task_id, f"{job.shape}: {what}")
        if last in evidence.lost:
            yield Breach("interrupted is said", task_id, f"{state}, though its end cannot be known")
    elif state == "interrupted":
        if attempt not in risked:
            yield Breach(
                "interrupted only where it was", task_id, f"attempt {attempt} was never at risk: {task['error']}"
            )
        if job.is_idempotent and attempt < MAX_ATTEMPTS:
            yield Breach("idempotent is tried again", task_id, f"given up after attempt {attempt}")
    elif state in FINAL:
        yield Breach("the outcome is its own", task_id, f"{state}, not {expected}: {task['error']}")


def _ledger(evidence: Evidence) -> Iterator[Breach]:
    seqs: dict[str, list[int]] = defaultdict(list)
    finals: Counter[str] = Counter()
    for entry in evidence.ledger:
        if entry.incarnation:
            seqs[entry.incarnation].append(entry.seq)
        if entry.kind != "task":
            yield Breach("a kill raises no alert", entry.kind, f"{entry.incarnation} {entry.seq}")
        if entry.state in FINAL and entry.task_id is not None:
            finals[entry.task_id] += 1
    for incarnation, found in seqs.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield Breach(
                "the ledger is gapless", incarnation, f"{len(found)} entries from {min(found)} to {max(found)}"
            )
    if len(seqs) > 1:
        yield Breach("a kill begins no new incarnation", "box", f"{sorted(seqs)}")
    for task_id in evidence.tasks:
        if finals[task_id] != 1:
            yield Breach("one outcome a task", task_id, f"{finals[task_id]} final events")

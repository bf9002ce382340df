"""The judge of a fault campaign: each promise that is broken is seen, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from scripts.faults.jobs import Job
from scripts.faults.oracle import Entry, Evidence, judge

JOB = Job("job", "instant", "echo x", is_idempotent=False, exit_code=0, stdout="x\n")
TASK = {
    "id": "t",
    "state": "succeeded",
    "attempt": 1,
    "exit_code": 0,
    "stdout": "x\n",
    "truncated": False,
    "error": None,
}
LEDGER = [Entry("i", 1, "task", "t", "running"), Entry("i", 2, "task", "t", "succeeded")]
GOOD = Evidence(
    jobs={"job": JOB},
    answered={"job": frozenset({"t"})},
    tasks={"t": TASK},
    diary=["s job t.1", "e job t.1"],
    at_risk=frozenset(),
    lost=frozenset(),
    ledger=LEDGER,
)
INTERRUPTED = replace(
    GOOD,
    tasks={"t": {**TASK, "state": "interrupted", "exit_code": None, "stdout": ""}},
    diary=["s job t.1"],
    at_risk=frozenset({"t.1"}),
    lost=frozenset({"t.1"}),
    ledger=[LEDGER[0], Entry("i", 2, "task", "t", "interrupted")],
)
RETRIED = replace(
    GOOD,
    jobs={"job": replace(JOB, is_idempotent=True)},
    tasks={"t": {**TASK, "attempt": 2}},
    diary=["s job t.1", "s job t.2", "e job t.2"],
    at_risk=frozenset({"t.1"}),
    lost=frozenset({"t.1"}),
)


def with_task(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, tasks={"t": {**evidence.tasks["t"], **changes}})


@pytest.mark.parametrize("evidence", [GOOD, INTERRUPTED, RETRIED], ids=["good", "interrupted", "retried"])
def test_nothing_is_said_where_all_is_as_promised(evidence: Evidence) -> None:
    assert judge(evidence) == []


@pytest.mark.parametrize(
    ("promise", "evidence"),
    [
        ("none is lost", replace(GOOD, tasks={})),
        ("none is lost", with_task(GOOD, state="running")),
        ("none is lost", replace(GOOD, answered={}, tasks={}, diary=[])),
        ("a key makes one task", replace(GOOD, answered={"job": frozenset({"t", "u"})})),
        ("a key makes one task", replace(GOOD, tasks={"t": TASK, "u": {**TASK, "id": "u"}})),
        ("none starts twice", replace(GOOD, diary=["s job t.1", "s job t.1", "e job t.1"])),
        ("none starts twice", replace(RETRIED, jobs={"job": JOB})),
        ("none starts twice", replace(RETRIED, at_risk=frozenset())),
        ("only what was asked for runs", replace(GOOD, diary=[*GOOD.diary, "s job u.1"])),
        (
            "one attempt ends before the next",
            replace(RETRIED, diary=["s job t.1", "s job t.2", "e job t.1", "e job t.2"]),
        ),
        ("attempts agree", with_task(RETRIED, attempt=1)),
        ("succeeded ran once to its end", replace(GOOD, diary=[])),
        ("succeeded ran once to its end", replace(GOOD, diary=["s job t.1"])),
        ("the exit status is its own", with_task(GOOD, exit_code=1)),
        ("the whole output arrives", with_task(GOOD, stdout="")),
        ("the whole output arrives", with_task(GOOD, truncated=True)),
        ("interrupted is said", replace(GOOD, at_risk=frozenset({"t.1"}), lost=frozenset({"t.1"}))),
        ("interrupted only where it was", replace(INTERRUPTED, at_risk=frozenset())),
        ("idempotent is tried again", replace(INTERRUPTED, jobs=RETRIED.jobs)),
        ("the outcome is its own", with_task(GOOD, state="expired")),
        ("a kill raises no alert", replace(GOOD, ledger=[*LEDGER, Entry("", 0, "quarantined", None, None)])),
        ("the ledger is gapless", replace(GOOD, ledger=[LEDGER[0], replace(LEDGER[1], seq=3)])),
        ("the ledger is gapless", replace(GOOD, ledger=[replace(LEDGER[0], seq=2), replace(LEDGER[1], seq=3)])),
        ("a kill begins no new incarnation", replace(GOOD, ledger=[*LEDGER, replace(LEDGER[0], incarnation="j")])),
        ("one outcome a task", replace(GOOD, ledger=[*LEDGER, replace(LEDGER[1], seq=3)])),
        ("one outcome a task", replace(GOOD, ledger=LEDGER[:1])),
        ("no orphan outlives a start", replace(GOOD, orphans=["7 of t.1"])),
        ("no attempt's folder stays", replace(GOOD, folders=["t.1"])),
        ("no database is damaged", replace(GOOD, damaged=["hub.db: row 1 missing"])),
    ],
)
def test_broken_promise_is_seen(promise: str, evidence: Evidence) -> None:
    assert promise in {breach.promise for breach in judge(evidence)}

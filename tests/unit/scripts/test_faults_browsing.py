"""The judge of browser campaigns: each promise that is broken is found, and none that is kept."""

from typing import Any

import pytest

from cloudsync.spec import SPEC
from scripts.faults.browsing import judge
from scripts.faults.stalker import Blow, Prey
from scripts.faults.visits import EXPECTED, WEIGHTS, Visit, make_visit

STEPS = ({"action": "goto"}, {"action": "text"})


def visit(kind: str = "look", *, is_idempotent: bool = False) -> Visit:
    return Visit("key", kind, is_idempotent, STEPS, 30.0)


def task(state: str, code: str = "", *, steps: str = "ss", attempt: int = 1) -> dict[str, Any]:
    names = {"s": "succeeded", "f": "failed", "-": "skipped"}
    error = {"code": code, "message": "why"} if code else None
    return {
        "state": state,
        "error": error,
        "attempt": attempt,
        "accepted_at": "1970-01-01T00:16:38.000Z",
        "started_at": "1970-01-01T00:16:38.500Z",
        "ended_at": "1970-01-01T00:16:40.200Z",
        "result": {"steps": [{"state": names[one]} for one in steps]},
    }


HIT = (Blow(Prey.BROWSER, 1000.0, 1001.0, 1.0),)


def broken(visit: Visit, task: dict[str, Any] | None, *, is_hit: bool = False, asked: int = 1) -> set[str]:
    found = judge({"t": visit}, {} if task is None else {"t": task}, HIT if is_hit else (), {"key": asked})
    return {breach.promise for breach in found}


def test_what_is_as_promised_is_no_breach() -> None:
    assert broken(visit(), task("succeeded")) == set()
    assert broken(visit("absent"), task("failed", "step_failed", steps="sf")) == set()
    assert broken(visit(), task("interrupted", "browser_crashed", steps="s"), is_hit=True) == set()
    assert broken(visit(is_idempotent=True), task("succeeded", attempt=2), is_hit=True, asked=2) == set()


@pytest.mark.parametrize(
    ("seen", "is_hit", "asked", "promise"),
    [
        (None, False, 1, "every task has an outcome"),
        (task("running"), False, 1, "every task has an outcome"),
        (task("failed", "step_failed", steps="f-"), False, 1, "an outcome names what happened"),
        (task("interrupted", "browser_crashed", steps="s"), False, 1, "an outcome names what happened"),
        (task("interrupted", "", steps="s"), True, 1, "an outcome names what happened"),
        (task("succeeded", steps="sf"), False, 1, "steps agree with the outcome"),
        (task("interrupted", "browser_crashed", steps="fs"), True, 1, "steps agree with the outcome"),
        (task("succeeded"), False, 2, "none starts twice"),
        (task("succeeded", attempt=2), True, 1, "none starts twice"),
    ],
)
def test_each_broken_promise_is_found(seen: dict[str, Any] | None, is_hit: bool, asked: int, promise: str) -> None:
    assert promise in broken(visit(), seen, is_hit=is_hit, asked=asked)


def test_a_visit_is_the_same_for_the_same_seed_and_every_kind_can_be_asked_of_a_hub() -> None:
    kinds = set()
    for number in range(300):
        made = make_visit(5, number, "http://127.0.0.1:1")
        assert made == make_visit(5, number, "http://127.0.0.1:1")
        kinds.add(made.kind)
        SPEC.validate_python(made.body())
    assert kinds == set(WEIGHTS) == set(EXPECTED)


@pytest.mark.parametrize(
    ("from_s", "to_s", "is_hit"), [(990.0, 997.0, False), (999.0, 1002.0, True), (1000.3, 1001.0, False)]
)
def test_only_who_ran_in_the_time_of_a_kill_can_have_been_hit(from_s: float, to_s: float, is_hit: bool) -> None:
    seen = task("interrupted", "browser_crashed", steps="s")
    found = judge({"t": visit()}, {"t": seen}, [Blow(Prey.DRIVER, from_s, to_s, 1.0)], {"key": 1})
    assert (found == []) == is_hit

"""What of a result fits into an entry: always within the budget, with what was cut said in its place."""

import json
from typing import Any

import pytest

from appliance.browser.result import all_steps, budget_bytes, fit, told, whole
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import SPEC, BrowserRun, ErrorBody, StepResult, StepState

BUDGET = 20_000


def step(value: Any, **more: Any) -> StepResult:
    return StepResult(action="evaluate", state=StepState.SUCCEEDED, value=value, **more)


def size(body: object) -> int:
    return len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())


def test_what_fits_is_whole() -> None:
    steps = [step("a" * 1000), step({"b": [1, None]})]
    assert fit(steps, BUDGET) == ({"steps": [one.model_dump(mode="json") for one in steps]}, False)


@pytest.mark.parametrize(
    "values",
    [
        ["x" * 100_000],
        ["\x01" * 50_000, "short", "ö€😀" * 10_000],
        [list(range(50_000)), "tail" * 10_000, 7],
        ['"quoted"\\' * 9_000] * 3,
        ["y" * 900] * 60,
    ],
)
def test_large_values_are_cut_to_the_budget_and_small_ones_are_not(values: list[Any]) -> None:
    body, is_cut = fit([step(value) for value in values], BUDGET)
    assert is_cut
    assert size(body) <= BUDGET
    assert size(body) > BUDGET * 0.5 or not isinstance(values[0], str)
    assert len(body["steps"]) == len(values)
    assert any("bytes left out" in str(one["value"]) for one in body["steps"])
    for value, one in zip(values, body["steps"], strict=True):
        if value in ("short", 7):
            assert one["value"] == value


def test_long_errors_and_many_steps_are_cut_after_the_values() -> None:
    error = ErrorBody(code="step_failed", message="m" * 3000)
    body, is_cut = fit([step(None, error=error) for _ in range(20)], BUDGET)
    assert is_cut
    assert size(body) <= BUDGET
    assert len(body["steps"]) == 20
    body, _ = fit([step("v", name="n" * 100) for _ in range(500)], BUDGET)
    assert size(body) <= BUDGET
    assert body["steps_left_out"] + len(body["steps"]) == 500


def test_the_whole_result_is_the_same_but_for_the_cut() -> None:
    steps = [step("x" * 100_000)]
    assert json.loads(whole(steps))["steps"][0]["value"] == "x" * 100_000


def test_each_file_that_is_named_takes_of_the_budget() -> None:
    assert budget_bytes(0) < ENTRY_LIMIT_BYTES
    assert budget_bytes(100) < budget_bytes(1)


def test_what_did_not_come_to_pass_was_skipped() -> None:
    spec = SPEC.validate_python(
        {"kind": "browser.run", "steps": [{"action": "title"}, {"action": "url", "name": "where"}]}
    )
    assert isinstance(spec, BrowserRun)
    found = all_steps(spec, {0: StepResult(action="title", state=StepState.FAILED)})
    assert [(one.action, one.name, one.state) for one in found] == [
        ("title", None, "failed"),
        ("url", "where", "skipped"),
    ]


def test_the_step_that_was_under_way_is_named_and_the_later_ones_were_skipped() -> None:
    actions = ["title", "url", "back", "reload"]
    spec = SPEC.validate_python({"kind": "browser.run", "steps": [{"action": action} for action in actions]})
    assert isinstance(spec, BrowserRun)
    done = {0: StepResult(action="title", state=StepState.SUCCEEDED)}
    states = [one.state for one in all_steps(spec, done, cut_off=True)]
    assert states == ["succeeded", "failed", "skipped", "skipped"]
    error = ErrorBody(code="timed_out", message="ended after 2 s")
    assert told(error, spec, done).message == "ended after 2 s, in step 2 (url)"
    every = {index: StepResult(action=action, state=StepState.SUCCEEDED) for index, action in enumerate(actions)}
    assert told(error, spec, every) == error
    assert [one.state for one in all_steps(spec, every, cut_off=True)] == ["succeeded"] * 4

"""Fields of steps that go somewhere or wait."""

from typing import Any

import pytest

from cloudsync.step.base import Pattern
from cloudsync.step.go import Back, Forward, Goto, Reload, WaitFor
from tests.unit.cloudsync.step.judge import refused, taken


def test_each_says_when_a_page_counts_as_reached() -> None:
    assert taken(Goto, {"action": "goto", "url": "x", "wait_until": "commit"}).wait_until == "commit"
    assert taken(Back, {"action": "back"}).wait_until == "load"
    assert taken(Forward, {"action": "forward", "wait_until": "networkidle"}).wait_until == "networkidle"
    assert taken(Reload, {"action": "reload"}).wait_until == "load"
    said = refused({"action": "reload", "wait_until": "never"})
    assert said == (
        "step 1 (reload): wait_until: Input should be 'load', 'domcontentloaded', 'networkidle' or 'commit'"
    )


def test_wait_is_for_exactly_one_thing() -> None:
    assert taken(WaitFor, {"action": "wait_for", "response": {"regex": "api"}, "status": 201}).response == Pattern(
        regex="api"
    )
    for fields in ({}, {"selector": "a", "text": "b"}, {"state": "hidden"}, {"milliseconds": 1, "url": "x"}):
        said = refused({"action": "wait_for", **fields})
        assert said == (
            "step 1 (wait_for): takes exactly one of selector, url, text, load_state, response, milliseconds"
        )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"selector": "a", "status": 200}, "status belongs to response"),
        ({"response": "x", "status": 99}, "status: Input should be greater than or equal to 100"),
        ({"milliseconds": -1}, "milliseconds: Input should be greater than or equal to 0"),
        ({"load_state": "done"}, "load_state: Input should be 'load', 'domcontentloaded' or 'networkidle'"),
        ({"url": ""}, "url: takes text that is not empty, or"),
    ],
)
def test_wait_that_is_none_is_said(fields: dict[str, Any], said: str) -> None:
    assert refused({"action": "wait_for", **fields}).startswith(f"step 1 (wait_for): {said}")

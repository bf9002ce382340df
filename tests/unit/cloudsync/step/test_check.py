"""Fields of the step that checks."""

from typing import Any

import pytest

from cloudsync.step.check import Expect
from tests.unit.cloudsync.step.judge import refused, taken


def test_several_things_are_checked_at_once() -> None:
    step = taken(Expect, {"action": "expect", "selector": "a", "text": "b", "count": 1, "url": "**/c", "exact": True})
    assert (step.text, step.count, step.url, step.exact) == ("b", 1, "**/c", True)
    assert taken(Expect, {"action": "expect", "text": "anywhere"}).selector is None
    assert taken(Expect, {"action": "expect", "selector": "a", "text": ""}).text == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "takes at least one of text, value, count, visible, hidden, url, title"),
        ({"selector": "a"}, "takes at least one of text, value, count, visible, hidden, url, title"),
        ({"visible": True}, "visible needs a selector"),
        ({"count": 1, "title": "x"}, "count needs a selector"),
        ({"selector": "a", "count": -1}, "count: Input should be greater than or equal to 0"),
        ({"selector": "a", "text": None, "value": 5}, "value: takes text, or"),
    ],
)
def test_what_checks_nothing_is_said(fields: dict[str, Any], said: str) -> None:
    assert refused({"action": "expect", **fields}).startswith(f"step 1 (expect): {said}")

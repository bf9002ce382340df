"""Fields of any step."""

from typing import Any

import pytest

from cloudsync.step.go import Goto
from cloudsync.step.read import ReadText
from tests.unit.cloudsync.step.judge import refused, taken

GOTO = {"action": "goto", "url": "https://example.com"}


def test_any_step_takes_a_name_a_time_a_variable_and_may_go_on() -> None:
    step = taken(Goto, {**GOTO, "name": "start ü", "timeout_s": 5, "continue_on_error": True, "save_as": "_a1"})
    assert (step.name, step.timeout_s, step.continue_on_error, step.save_as) == ("start ü", 5, True, "_a1")
    plain = taken(Goto, GOTO)
    assert (plain.name, plain.timeout_s, plain.continue_on_error, plain.save_as) == (None, None, False, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name: a name has 1 to 100 characters"),
        ({"name": "a/b"}, "name: a name has"),
        ({"name": "a\\b"}, "name: a name has"),
        ({"name": "a\nb"}, "name: a name has"),
        ({"name": ".."}, "name: a name has"),
        ({"name": "x" * 101}, "name: a name has"),
        ({"name": 1}, "name: Input should be a valid string"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ({"timeout_s": 86_401}, "timeout_s: Input should be less than or equal to 86400"),
        ({"timeout_s": "5"}, "timeout_s: Input should be a valid number"),
        ({"continue_on_error": "yes"}, "continue_on_error: Input should be a valid boolean"),
        ({"save_as": "1a"}, "save_as: a variable's name has"),
        ({"save_as": "a-b"}, "save_as: a variable's name has"),
        ({"save_as": "x" * 65}, "save_as: a variable's name has"),
        ({"url": " "}, "url: must not be empty"),
    ],
)
def test_what_is_none_is_said(fields: dict[str, Any], said: str) -> None:
    assert refused(GOTO, {**GOTO, **fields}).startswith(f"step 2 (goto): {said}")


def test_frame_is_a_selector_or_several() -> None:
    assert taken(ReadText, {"action": "text", "frame": "#a"}).frame == "#a"
    assert taken(ReadText, {"action": "text", "frame": ["#a", "#b"]}).frame == ("#a", "#b")
    wrong: Any
    for wrong in ([], [""], 1, {}, [1]):
        said = refused({"action": "text", "frame": wrong})
        assert said.startswith("step 1 (text): frame: takes the selector of an iframe, or a list of such selectors")


@pytest.mark.parametrize(
    "step",
    [
        {"action": "screenshot"},
        {"action": "press", "key": "a"},
        {"action": "scroll", "delta_y": 1},
        {"action": "wait_for", "url": "x"},
        {"action": "expect", "title": "x"},
        {"action": "download", "url": "x"},
    ],
)
def test_frame_without_anything_to_look_for_is_refused(step: dict[str, Any]) -> None:
    assert refused({**step, "frame": "#a"}).startswith(f"step 1 ({step['action']}): frame goes with selector")


def test_regular_expression_that_is_none_is_said() -> None:
    said = refused({"action": "expect", "title": {"regex": "("}})
    assert (
        'title: takes text, or {"regex": …} with a regular expression: it is no regular expression: missing )' in said
    )
    assert "takes text" in refused({"action": "expect", "title": {"regexp": "x"}})
    assert "takes text" in refused({"action": "expect", "title": 1})

"""Variables and secrets in steps."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from cloudsync.errors import VariableWrong
from cloudsync.spec import SPEC, BrowserRun
from cloudsync.step.act import Fill
from cloudsync.step.read import Evaluate, Extract, ReadText
from cloudsync.steps import STEPS
from cloudsync.variables import check_variables, fill, fill_text, secrets_in
from tests.unit.cloudsync.step.judge import refused, task

SAVE = {"action": "title", "save_as": "x"}


def use(text: str) -> dict[str, Any]:
    return {"action": "fill", "selector": "a", "text": text}


def said(*steps: dict[str, Any]) -> str:
    with pytest.raises(VariableWrong) as raised:
        check_variables(STEPS.validate_python(list(steps)))
    return str(raised.value)


def test_variable_that_an_earlier_step_saves_is_known() -> None:
    check_variables(STEPS.validate_python([SAVE, use("{{x}} {{ x }}{{x}}"), {**use("{{y}}"), "text": "{{x}}"}]))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([use("{{x}}")], "step 1 (fill): unknown variable 'x'; no step before it has save_as"),
        ([SAVE, use("{{y}}")], "step 2 (fill): unknown variable 'y'; steps before it save x"),
        ([use("{{x}}"), SAVE], "step 1 (fill): variable 'x' is used before step 2 saves it"),
        ([{**use("{{x}}"), "save_as": "x"}], "step 1 (fill): variable 'x' is used before step 1 saves it"),
        ([use("{{secret:}}")], "step 1 (fill): '{{secret:}}' names no secret: a name has"),
        ([use("{{secret:a b}}")], "step 1 (fill): '{{secret:a b}}' names no secret"),
        ([use("{{ secret : ../a }}")], "step 1 (fill): '{{secret:../a}}' names no secret"),
        ([SAVE, {**use("a"), "name": "{{x}}"}], "step 2 (fill): name takes no variable and no secret"),
        ([{**use("a"), "name": "{{secret:a}}"}], "step 1 (fill): name takes no variable and no secret"),
        ([{"action": "extract", "fields": {"a": {"selector": "{{x}}"}}}], "step 1 (extract): unknown variable 'x'"),
        ([{"action": "evaluate", "expression": "1", "arg": {"a": ["{{x}}"]}}], "step 1 (evaluate): unknown variable"),
        ([{"action": "text", "frame": ["a", "{{x}}"]}], "step 1 (text): unknown variable 'x'"),
        ([{"action": "expect", "title": {"regex": "{{x}}"}}], "step 1 (expect): unknown variable 'x'"),
    ],
)
def test_unknown_early_and_misplaced_names_are_said(steps: list[dict[str, Any]], message: str) -> None:
    assert said(*steps).startswith(message)
    assert message in refused(*steps)


@pytest.mark.parametrize(
    "text", ["\\{{x}}", "{{a:1}}", "{{ user.name }}", "{{}}", "{x}", "{{x", "() => ({{a}: 1})", "{{1}}"]
)
def test_what_is_no_place_for_a_variable_stays(text: str) -> None:
    (step,) = STEPS.validate_python([use(text)])
    check_variables([step])
    assert isinstance(step, Fill)
    assert fill(step, {}, {}).text == text.replace("\\{{", "{{")


def test_text_goes_in_as_it_is_and_any_other_value_as_json() -> None:
    variables = {"text": 'a"b', "data": {"a": [1, None, "ä"]}, "none": None, "flag": True}
    assert fill_text("<{{text}}|{{data}}|{{none}}|{{flag}}>", variables, {}) == '<a"b|{"a": [1, null, "ä"]}|null|true>'
    assert fill_text("{{secret:k.1}}", {}, {"k.1": "{{text}}"}) == "{{text}}"


@settings(deadline=None)
@given(st.text(), st.text())
def test_what_was_filled_in_is_not_looked_at(first: str, second: str) -> None:
    values = {"a": f"{first}{{{{b}}}}{{{{secret:s}}}}", "b": second}
    assert fill_text("{{a}}-{{b}}", values, {"s": "never"}) == f"{values['a']}-{second}"


def test_missing_value_is_said() -> None:
    with pytest.raises(VariableWrong, match="variable 'x' has no value: the step that saves it did not succeed"):
        fill_text("{{x}}", {}, {})
    with pytest.raises(VariableWrong, match="the box has no secret 's'"):
        fill_text("{{secret:s}}", {"s": 1}, {})


def test_step_is_filled_in_everywhere_but_in_what_names_it() -> None:
    (step,) = STEPS.validate_python(
        [{"action": "evaluate", "expression": "{{x}}", "arg": {"{{x}}": ["{{x}}", 1]}, "frame": ["{{x}}"], "name": "n"}]
    )
    assert isinstance(step, Evaluate)
    filled = fill(step, {"x": "v"}, {})
    assert (filled.expression, filled.arg, filled.frame, filled.name) == ("v", {"{{x}}": ["v", 1]}, ("v",), "n")
    assert type(filled) is Evaluate


def test_nested_objects_are_filled_in() -> None:
    (step,) = STEPS.validate_python(
        [{"action": "extract", "fields": {"a": ["{{x}}"], "b": {"selector": "{{x}}", "fields": {"c": "{{x}}"}}}}]
    )
    assert isinstance(step, Extract)
    (expected,) = STEPS.validate_python(
        [{"action": "extract", "fields": {"a": ["v"], "b": {"selector": "v", "fields": {"c": "v"}}}}]
    )
    assert fill(step, {"x": "v"}, {}) == expected


def test_step_without_places_is_itself() -> None:
    (step,) = STEPS.validate_python([{"action": "text", "selector": "h1"}])
    assert fill(step, {}, {}) is step


def test_what_a_field_does_not_take_is_refused_when_filled_in() -> None:
    (step,) = STEPS.validate_python([{"action": "text", "selector": "{{x}}"}])
    assert isinstance(step, ReadText)
    with pytest.raises(ValidationError):
        fill(step, {"x": " "}, {})


def test_secrets_of_a_task_are_found_in_all_its_fields() -> None:
    more = {
        "headers": {"X": "{{secret:b}}"},
        "http_credentials": {"username": "u", "password": "{{secret:c}}"},
        "proxy": {"server": "http://p", "password": "{{ secret:d }}"},
    }
    spec = SPEC.validate_python(task(use("{{secret:a}} \\{{secret:no}}"), **more))
    assert isinstance(spec, BrowserRun)
    assert secrets_in(spec) == {"a", "b", "c", "d"}
    assert "names no secret" in refused(use("a"), headers={"X": "{{secret:a/b}}"})


@pytest.mark.parametrize(
    ("field", "value"),
    [("headers", {"X": "{{y}}"}), ("locale", "{{y}}"), ("proxy", {"server": "http://p", "password": "a{{y}}"})],
)
def test_a_variable_outside_of_steps_is_refused_with_its_field(field: str, value: object) -> None:
    assert f"{field}: '{{{{y}}}}' is a variable" in refused(SAVE, {**use("a"), "save_as": "y"}, **{field: value})
    spec = SPEC.validate_python(task(use("a"), headers={"X": "\\{{y}}"}))
    assert isinstance(spec, BrowserRun)

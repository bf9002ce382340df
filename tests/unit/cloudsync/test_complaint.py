"""What is said of what pydantic found wrong."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cloudsync.complaint import Complaint, complaints
from cloudsync.spec import KINDS, SPEC
from cloudsync.steps import ACTIONS
from tests.unit.cloudsync.step.judge import task

TITLE = {"action": "title"}


def of(body: Any, limit: int = 9) -> list[Complaint]:
    with pytest.raises(ValidationError) as raised:
        SPEC.validate_json(json.dumps(body))
    return complaints(raised.value, limit)


def test_field_of_a_task_is_named_as_it_was_written() -> None:
    (found,) = of({"kind": "bash.exec", "command": 5})
    assert (found.field, str(found)) == ("command", "command: Input should be a valid string")
    (found,) = of({"kind": "bash.exec", "command": "x", "timeout_s": 0})
    assert (found.field, found.allowed) == ("timeout_s", {"gt": 0.0})
    (found,) = of(task(TITLE, viewport={"width": 1}))
    assert str(found) == "viewport.height: Field required"


def test_step_is_named_by_its_number_from_1_and_its_action() -> None:
    (found,) = of(task(TITLE, {"action": "click"}))
    assert found == Complaint("steps.2.selector", "step 2 (click): selector is missing")
    assert str(found) == "step 2 (click): selector is missing"


def test_unknown_field_is_told_with_those_that_there_are() -> None:
    (found,) = of(task({"action": "fill", "selector": "a", "text": "b", "txt": "c"}))
    assert found.field == "steps.1.txt"
    assert found.message == (
        "step 1 (fill): unknown field 'txt', did you mean 'text'?; it has frame, selector, text, force, name, "
        "timeout_s, continue_on_error, save_as"
    )
    assert "text" in found.allowed


def test_unknown_action_is_told_with_those_that_there_are() -> None:
    (found,) = of(task(TITLE, {"action": "klick"}))
    assert found.message.startswith("step 2: unknown action 'klick', did you mean 'click'?; actions: goto, back, ")
    assert (found.field, found.allowed) == ("steps.2.action", list(ACTIONS))
    (found,) = of(task({"selector": "a"}))
    assert found.message.startswith("step 1: 'action' is missing; actions: goto, ")
    (found,) = of(task({"action": "x" * 999}))
    assert "x" * 41 not in found.message


@pytest.mark.parametrize("step", [None, 1, "goto", [], [TITLE]])
def test_what_is_no_step_is_said(step: Any) -> None:
    (found,) = of(task(TITLE, step))
    assert str(found) == "step 2: Input should be an object"


def test_unknown_kind_is_told_with_those_that_there_are() -> None:
    assert of({"kind": "shell"}) == [
        Complaint("kind", "unknown kind 'shell'; kinds: bash.exec, browser.run", list(KINDS))
    ]
    assert str(of({"command": "x"})[0]) == "kind: 'kind' is missing; kinds: bash.exec, browser.run"
    assert str(of([])[0]) == "the message: Input should be an object"


def test_values_are_not_repeated() -> None:
    body = task(
        {"action": "fill", "selector": "a", "text": ["hunter2"], "timeout_s": "hunter2", "frame": {"hunter2": 1}}
    )
    said = repr(of(body)) + repr(of(task(TITLE, http_credentials={"username": "a", "password": 4711, "x": "hunter2"})))
    assert "hunter2" not in said
    assert "4711" not in said


def test_no_more_are_made_than_wanted() -> None:
    assert len(of(task(*[{"action": "click"}] * 50), limit=3)) == 3

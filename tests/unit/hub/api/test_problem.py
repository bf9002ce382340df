"""Errors as problem documents."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cloudsync.problem import ERROR_LIMIT, FIELD_LIMIT
from cloudsync.spec import SPEC
from hub.api.problem import Problem, failed, problem, responses, unavailable, unprocessable
from hub.errors import Refusal, StoreUnavailable


def document(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    Problem.model_validate(found)
    assert answer.media_type == "application/problem+json"
    return found


def refused(body: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        SPEC.validate_json(json.dumps(body))
    return document(problem(unprocessable(caught.value, "the body")))


def test_refusal_becomes_a_problem_with_its_hint() -> None:
    found = document(problem(Refusal(409, "exists", "it exists", hint="choose another", extra={"task_id": "t"})))
    assert found == {
        "type": "about:blank", "title": "Conflict", "status": 409, "code": "exists", "detail": "it exists",
        "hint": "choose another", "task_id": "t",
    }  # fmt: skip


def test_unauthorised_says_how_to_authorise() -> None:
    assert problem(Refusal(401, "no_key", "x", hint="y")).headers["www-authenticate"] == "Bearer"


def test_store_that_cannot_commit_and_failure_of_ours_say_what_to_do() -> None:
    assert document(unavailable(StoreUnavailable("full")))["hint"]
    assert document(failed())["status"] == 500


def test_wrong_field_is_named_with_what_is_allowed_and_without_its_value() -> None:
    found = refused({"kind": "bash.exec", "command": "x", "timeout_s": -5, "env": {"path": 1}, "stdin": ["hunter2"]})
    assert {error["field"] for error in found["errors"]} == {"timeout_s", "env.path", "stdin"}
    assert found["errors"][[error["field"] for error in found["errors"]].index("timeout_s")]["allowed"] == {"gt": 0}
    assert "hunter2" not in json.dumps(found)
    assert "2 more" in found["detail"]


def test_many_and_long_unknown_fields_are_not_repeated_at_length() -> None:
    found = refused({"kind": "bash.exec", "command": "x"} | {f"{number}" + "x" * 9999: 1 for number in range(500)})
    assert len(found["errors"]) == ERROR_LIMIT
    assert max(len(error["field"]) for error in found["errors"]) <= FIELD_LIMIT
    assert "499 more" in found["detail"]


def test_every_path_may_answer_with_what_any_can() -> None:
    assert set(responses(404)) == {401, 404, 405, 503}

"""What is answered where it cannot be done."""

import json

import pytest
from pydantic import ValidationError

from appliance.errors import Refusal, TaskRefused
from appliance.local_api import problem
from cloudsync.spec import SPEC, ErrorBody


def refusal_of(body: str) -> Refusal:
    with pytest.raises(ValidationError) as caught:
        SPEC.validate_json(body)
    return problem.wrong_body(caught.value)


def test_a_refusal_is_a_problem_document() -> None:
    answer = problem.problem(Refusal(409, "key_reused", "it was used", "use another", {"errors": []}))
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert json.loads(bytes(answer.body)) == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "code": "key_reused",
        "detail": "it was used",
        "hint": "use another",
        "errors": [],
    }


def test_a_wrong_field_is_named_with_what_is_allowed_and_without_its_value() -> None:
    refusal = refusal_of('{"kind": "bash.exec", "command": "x", "timeout_s": -77, "secret-field": "hush"}')
    assert refusal.status == 422
    fields = {one["field"]: one for one in refusal.more["errors"]}
    assert set(fields) == {"timeout_s", "secret-field"}
    assert fields["timeout_s"]["allowed"]
    assert "(and 1 more)" in str(refusal)
    assert "hush" not in str(refusal.more) + str(refusal)
    assert "-77" not in str(refusal.more) + str(refusal)


def test_a_wrong_step_is_told_by_its_number() -> None:
    refusal = refusal_of('{"kind": "browser.run", "steps": [{"action": "title"}, {"action": "goto"}]}')
    assert "step 2 (goto): url is missing" in str(refusal)


def test_what_is_no_json_is_400() -> None:
    assert refusal_of("{").status == 400


@pytest.mark.parametrize(
    ("code", "status"), [("disk_full", 507), ("stopping", 503), ("too_large", 413), ("anything else", 422)]
)
def test_a_task_that_is_not_accepted_has_its_status_and_hint(code: str, status: int) -> None:
    refusal = problem.refused_task(TaskRefused(ErrorBody(code=code, message="m", hint="h")))
    assert (refusal.status, refusal.code, refusal.detail, refusal.hint) == (status, code, "m", "h")


def test_what_is_allowed_is_said_in_the_hint() -> None:
    assert problem.wrong_query("state", "is 'x'", ["a", "b"]).hint == "Allowed: a, b."
    assert problem.wrong_query("x", "is unknown here", []).hint == "Allowed: nothing."

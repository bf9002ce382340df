"""Problem documents: their members, and what they say of wrong fields."""

from typing import Any

import pytest
from pydantic import ValidationError

from cloudsync import problem
from cloudsync.spec import SPEC


def errors_of(body: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    with pytest.raises(ValidationError) as caught:
        SPEC.validate_python(body)
    return problem.wrong_fields(caught.value), caught.value.error_count()


def test_a_document_has_the_members_of_rfc_9457_and_ours() -> None:
    assert problem.document(410, "gone", "it is gone", "make another", {"task_id": "t"}) == {
        "type": "about:blank",
        "title": "Gone",
        "status": 410,
        "code": "gone",
        "detail": "it is gone",
        "hint": "make another",
        "task_id": "t",
    }


def test_a_wrong_field_is_named_with_what_is_allowed_and_never_its_value() -> None:
    errors, total = errors_of({"kind": "bash.exec", "command": "s3cret", "timeout_s": -7.5, "bogus": "s3cret"})
    assert [one["field"] for one in errors] == ["timeout_s", "bogus"]
    assert errors[0]["allowed"] == {"gt": 0.0}
    assert "s3cret" not in str(errors)
    assert problem.said("the body", errors, total).startswith("the body: timeout_s: ")
    assert problem.said("the body", errors, total).endswith(" (and 1 more)")


def test_a_wrong_step_names_its_field_itself() -> None:
    errors, total = errors_of({"kind": "browser.run", "steps": [{"action": "click", "selecter": "a"}]})
    assert problem.said("the body", errors, total).startswith("the body: step 1 (click): ")


def test_much_that_is_wrong_and_long_names_are_cut() -> None:
    errors, total = errors_of({"kind": "bash.exec", "command": "x", **{f"{n}{'x' * 500}": 1 for n in range(50)}})
    assert (len(errors), total) == (problem.ERROR_LIMIT, 50)
    assert {len(one["field"]) for one in errors} == {problem.FIELD_LIMIT}

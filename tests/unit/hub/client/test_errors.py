"""A problem document becomes one sentence."""

from hub.client.errors import Refused


def test_fields_that_the_detail_does_not_say_are_added() -> None:
    refused = Refused.from_problem(
        422,
        {
            "title": "Unprocessable",
            "status": 422,
            "detail": "the body is wrong.",
            "errors": [
                {"field": "timeout_s", "message": "must be positive", "allowed": {"gt": 0}},
                {"field": "state", "message": "not allowed", "allowed": ["queued", "running"]},
            ],
        },
    )
    assert str(refused) == (
        "the body is wrong; timeout_s: must be positive; state: not allowed (allowed: queued, running)"
    )
    assert refused.fields == [("timeout_s", "must be positive"), ("state", "not allowed")]


def test_fields_that_the_detail_says_are_not_said_twice() -> None:
    problem = {
        "detail": "query: limit is '0'",
        "errors": [{"field": "limit", "message": "not allowed", "allowed": "1 to 500"}],
    }
    assert str(Refused.from_problem(422, problem)) == "query: limit is '0' (allowed: 1 to 500)"


def test_refusal_of_a_key_says_what_to_do_even_where_the_hub_does_not() -> None:
    assert "--key" in Refused.from_problem(401, {"title": "Unauthorized"}).hint
    assert "role" in Refused.from_problem(403, {"title": "Forbidden"}).hint


def test_problem_of_strange_shape_is_still_a_sentence() -> None:
    assert str(Refused.from_problem(400, {"title": "Bad", "detail": None, "errors": ["x", None]})) == "Bad"
    assert str(Refused.from_problem(400, {"title": "Bad", "errors": [{}]}))

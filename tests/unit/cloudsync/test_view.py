"""What hub and box show alike of a task."""

import json

import pytest

from cloudsync import view
from cloudsync.spec import ErrorBody, Outcome, Output, Usage


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_time_has_milliseconds_and_z(at_ms: int, text: str) -> None:
    assert view.instant(at_ms) == text
    assert view.when(None) is None


def test_outcome_is_shown_as_the_contract_has_it() -> None:
    outcome = Outcome(
        stdout=Output.of(b"\xff"),
        stderr=Output.of(b"cut", total_bytes=9, cut_bytes=6),
        error=ErrorBody(code="x", message="m"),
        result={"steps": []},
        usage=Usage(cpu_ms=1, max_rss_kb=2),
    )
    assert view.outcome_fields(json.loads(outcome.model_dump_json(exclude_defaults=True))) == {
        "stdout": "\N{REPLACEMENT CHARACTER}",
        "stderr": "cut",
        "truncated": True,
        "error": {"code": "x", "message": "m", "hint": ""},
        "result": {"steps": [], "usage": {"cpu_ms": 1, "max_rss_kb": 2}},
    }


def test_no_outcome_is_empty() -> None:
    assert view.outcome_fields({}) == {"stdout": "", "stderr": "", "truncated": False, "error": None, "result": None}

"""What tests of the steps' fields ask: is this step taken, and what is said of it where it is not."""

import json
from typing import Any, TypeVar

import pytest
from pydantic import ValidationError

from cloudsync.complaint import complaints
from cloudsync.spec import SPEC, BrowserRun
from cloudsync.step.base import StepBase

T = TypeVar("T", bound=StepBase)


def task(*steps: Any, **more: Any) -> dict[str, Any]:
    """The body of a task of these steps."""
    return {"kind": "browser.run", "steps": list(steps), **more}


def taken(kind: type[T], step: dict[str, Any]) -> T:
    """The step as it is taken, from JSON and from Python alike."""
    body = task(step, profile="p")
    made = SPEC.validate_json(json.dumps(body))
    assert made == SPEC.validate_python(body)
    assert isinstance(made, BrowserRun)
    (only,) = made.steps
    assert isinstance(only, kind)
    return only


def refused(*steps: Any, **more: Any) -> str:
    """All that is said of the task."""
    with pytest.raises(ValidationError) as raised:
        SPEC.validate_json(json.dumps(task(*steps, **more)))
    return "; ".join(str(complaint) for complaint in complaints(raised.value, 9))

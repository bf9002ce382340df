"""What of a browser task's steps fits into its outcome, and what is said in the place of the rest."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudsync.labels import RESULT
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import BrowserRun, ErrorBody, StepResult, StepState

# The rest of an outcome and its event; its artifacts are counted apart.
ROOM_BYTES: Final = 8 * 1024
# An artifact's row as JSON, with a name of usual length and some to spare.
ARTIFACT_BYTES: Final = 400
ROUNDS: Final = 20
# The line that says what was cut; a value as short as that is not.
LEAST_BYTES: Final = 100
MESSAGE_CHARACTERS: Final = 300
_CUT_OFF: Final = ErrorBody(
    code="cut_off",
    message="it was under way when the task was ended",
    hint="The error of the task says why it was ended.",
)


def all_steps(spec: BrowserRun, results: Mapping[int, StepResult], *, cut_off: bool = False) -> list[StepResult]:
    """One result for each step of the task: what did not come to pass was skipped.

    `cut_off`: the task was ended from without, and with it the step that was under way, the first without a result.
    """
    skipped = [StepResult(action=step.action, name=step.name, state=StepState.SKIPPED) for step in spec.steps]
    steps = [results.get(index, skip) for index, skip in enumerate(skipped)]
    at = under_way(spec, results) if cut_off else None
    if at is not None:
        steps[at] = skipped[at].model_copy(update={"state": StepState.FAILED, "error": _CUT_OFF})
    return steps


def under_way(spec: BrowserRun, results: Mapping[int, StepResult]) -> int | None:
    """The step that a task which has begun is at, from 0 on; None where it has done all."""
    return next((index for index in range(len(spec.steps)) if index not in results), None)


def told(error: ErrorBody, spec: BrowserRun, results: Mapping[int, StepResult]) -> ErrorBody:
    """The error of a task that was cut off, with the step that it was at."""
    at = under_way(spec, results)
    if at is None:
        return error
    return error.model_copy(update={"message": f"{error.message}, in step {at + 1} ({spec.steps[at].action})"})


def budget_bytes(files: int) -> int:
    """What the steps may take, encoded, in an outcome that names so many files."""
    return ENTRY_LIMIT_BYTES - ROOM_BYTES - files * ARTIFACT_BYTES


def whole(steps: Sequence[StepResult]) -> bytes:
    """The result with nothing cut, as it is kept beside an outcome that cannot hold it."""
    return json.dumps({"steps": [step.model_dump(mode="json") for step in steps]}, ensure_ascii=False).encode()


def fit(steps: Sequence[StepResult], budget: int) -> tuple[dict[str, Any], bool]:
    """The result within `budget` bytes of JSON, and whether something was cut.

    The largest values are cut first, each to the same size; then long messages of errors; then the steps in the middle.
    """
    bodies = [step.model_dump(mode="json") for step in steps]
    if _size({"steps": bodies}) <= budget:
        return {"steps": bodies}, False
    low, high = 0, budget
    for _ in range(ROUNDS):
        limit = (low + high) // 2
        if _size({"steps": [_cut(body, limit) for body in bodies]}) <= budget:
            low = limit
        else:
            high = limit
    cut = [_cut(body, low) for body in bodies]
    if _size({"steps": cut}) > budget:
        cut = [_short(body) for body in cut]
    result: dict[str, Any] = {"steps": cut}
    left_out = 0
    while _size(result) > budget and len(cut) > 2:
        middle = len(cut) // 2
        gone = max(1, len(cut) // 8)
        del cut[middle - gone // 2 : middle - gone // 2 + gone]
        left_out += gone
        result = {"steps": cut, "steps_left_out": left_out}
    return result, True


def _cut(body: dict[str, Any], limit: int) -> dict[str, Any]:
    value = body["value"]
    size = _size(value)
    if size <= max(limit, LEAST_BYTES):
        return body
    if not isinstance(value, str):
        return {**body, "value": f"[… {size} bytes left out, all of it is in {RESULT} …]"}
    kept = value[: max(0, limit - LEAST_BYTES)]
    while kept and (over := _size(kept) + LEAST_BYTES - limit) > 0:
        # At most six bytes of JSON a character.
        kept = kept[: -max(1, over // 6)]
    left = len(value.encode()) - len(kept.encode())
    return {**body, "value": f"{kept}\n[… {left} bytes left out, all of it is in {RESULT} …]"}


def _short(body: dict[str, Any]) -> dict[str, Any]:
    error = body["error"]
    if error is None or len(error["message"]) <= MESSAGE_CHARACTERS:
        return body
    return {**body, "error": {**error, "message": f"{error['message'][:MESSAGE_CHARACTERS]} …"}}


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

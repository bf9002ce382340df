"""The planner's decisions as tables."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.planner import (
    Accept,
    CancelTask,
    Ending,
    Evidence,
    Flag,
    Ignore,
    Intent,
    Refuse,
    Running,
    Verdict,
    intended,
    plan_command,
    plan_end,
    recover,
    spawn_failed,
)
from cloudsync.spec import MAX_ATTEMPTS, SPEC, ErrorBody, encode_spec, spec_digest
from cloudsync.task import TaskState
from tests.unit.appliance.engines import cancel_command, run_command

DIGEST = spec_digest(encode_spec(SPEC.validate_python({"kind": "bash.exec", "command": "echo"})))
BROWSE = {"kind": "browser.run", "steps": [{"action": "goto", "url": "https://example.com"}]}
FULL = ErrorBody(code="disk_full", message="full")


def plan(entry: object, known: str | None = None, refusal: ErrorBody | None = None) -> Any:
    return plan_command(entry, lambda _: known, refusal=refusal)


def test_commands_become_steps() -> None:
    assert isinstance(plan(run_command("a", "echo")), Accept)
    assert plan(cancel_command("a")) == CancelTask("a", "key-1")
    assert isinstance(plan(run_command("a", "echo"), DIGEST), Ignore)
    assert isinstance(plan(run_command("a", "echo", remaining_s=0), DIGEST), Ignore)
    assert isinstance(plan(run_command("a", "echo"), DIGEST, FULL), Ignore)
    assert isinstance(plan(run_command("../a", "echo")), Flag)


@pytest.mark.parametrize(
    ("entry", "known", "refusal", "state", "code"),
    [
        (run_command("a", "echo"), "another", None, TaskState.REJECTED, "id_reused"),
        (run_command("a", "echo"), None, FULL, TaskState.REJECTED, "disk_full"),
        (run_command("a", "echo", remaining_s=0), None, FULL, TaskState.EXPIRED, "expired"),
        (run_command("a", "echo", odd=1), None, None, TaskState.REJECTED, "invalid_spec"),
        ({**run_command("a", ""), "spec": {"kind": "x"}}, None, None, TaskState.REJECTED, "unknown_kind"),
        ({"type": "run", "task_id": "a"}, None, None, TaskState.REJECTED, "not_understood"),
    ],
)
def test_refusals_say_why(
    entry: object, known: str | None, refusal: ErrorBody | None, state: TaskState, code: str
) -> None:
    step = plan(entry, known, refusal)
    assert isinstance(step, Refuse)
    assert (step.state, step.error.code) == (state, code)
    assert step.is_known == (known is not None or code == "not_understood")


@pytest.mark.parametrize(
    ("exit_code", "signal", "intent", "ending"),
    [
        (0, None, None, (TaskState.SUCCEEDED, 0, None)),
        (3, None, None, (TaskState.FAILED, 3, None)),
        (None, 9, None, (TaskState.FAILED, 137, None)),
        (0, None, Intent.CANCEL, (TaskState.CANCELLED, 0, "cancelled")),
        (None, 15, Intent.TIMEOUT, (TaskState.TIMED_OUT, 143, "timed_out")),
        (None, 15, Intent.STOP, (TaskState.INTERRUPTED, 143, "stopped")),
        (None, 9, Intent.BEGIN_ANEW, (TaskState.INTERRUPTED, 137, "incarnation_ended")),
    ],
)
def test_an_end_is_named_by_the_intent_else_by_the_exit(
    exit_code: int | None, signal: int | None, intent: Intent | None, ending: tuple[TaskState, int, str | None]
) -> None:
    found = plan_end(exit_code, signal, intent, "", 60.0)
    assert (found.state, found.exit_code, None if found.error is None else found.error.code) == ending
    assert not found.retry


def test_messages_say_who_and_how_long() -> None:
    assert intended(Intent.TIMEOUT, "", 1.5).error == ErrorBody(
        code="timed_out", message="ended after 1.5 s", hint="Give it a longer timeout_s, or make it quicker."
    )
    error = intended(Intent.CANCEL, "ann", 0.0).error
    assert error is not None
    assert error.message == "cancelled by ann while it ran"
    failed = spawn_failed("x" * 100_000).error
    assert failed is not None
    assert len(failed.message) < 2100


RUNNING = Running(1, "boot", is_browser=False, is_idempotent=False, timeout_s=60.0, intent=None, by="")
NOTHING = Evidence(
    "boot", has_exit=False, exit_code=None, signal=None, is_alive=False, was_started=True, stopped_in_order=False
)


@pytest.mark.parametrize("intent", [None, Intent.CANCEL])
def test_an_exit_record_of_this_boot_is_the_truth(intent: Intent | None) -> None:
    found = recover(replace(RUNNING, intent=intent), replace(NOTHING, has_exit=True, exit_code=3, is_alive=True))
    assert found.verdict is Verdict.RECORD
    assert found.ending is not None
    assert (found.ending.state, found.ending.exit_code) == (
        (TaskState.FAILED, 3) if intent is None else (TaskState.CANCELLED, 3)
    )


@pytest.mark.parametrize("intent", [None, Intent.TIMEOUT])
def test_what_the_spawner_has_is_adopted(intent: Intent | None) -> None:
    assert recover(replace(RUNNING, intent=intent), replace(NOTHING, is_alive=True)).verdict is Verdict.ADOPT


def test_what_never_started_is_started_unless_it_was_to_end() -> None:
    never = replace(NOTHING, was_started=False)
    assert recover(RUNNING, never).verdict is Verdict.START
    found = recover(replace(RUNNING, intent=Intent.CANCEL), never)
    assert found.verdict is Verdict.LOST
    assert found.ending is not None
    assert found.ending.state is TaskState.CANCELLED


@pytest.mark.parametrize(
    ("boot", "in_order", "code"),
    [
        ("boot", False, "spawner_killed"),
        ("boot", True, "spawner_killed"),
        ("earlier", False, "power_cut"),
        ("earlier", True, "box_restarted"),
    ],
)
def test_what_is_gone_is_interrupted_and_the_reason_is_named(boot: str, in_order: bool, code: str) -> None:
    # Nothing that another boot left behind counts, not even that it never started.
    evidence = replace(NOTHING, stopped_in_order=in_order, has_exit=boot != "boot", exit_code=0)
    found = recover(replace(RUNNING, boot_id=boot), replace(evidence, was_started=boot == "boot"))
    assert found.verdict is Verdict.LOST
    assert found.ending is not None
    assert found.ending.error is not None
    assert (found.ending.state, found.ending.error.code, found.ending.retry) == (TaskState.INTERRUPTED, code, False)


@pytest.mark.parametrize(("attempt", "retry"), [(1, True), (MAX_ATTEMPTS - 1, True), (MAX_ATTEMPTS, False)])
def test_only_an_idempotent_task_is_tried_again_and_only_so_often(attempt: int, retry: bool) -> None:
    task = replace(RUNNING, attempt=attempt, is_idempotent=True)
    found = recover(task, NOTHING)
    assert found.ending is not None
    assert found.ending.retry is retry
    cancelled = recover(replace(task, intent=Intent.CANCEL), NOTHING)
    assert isinstance(cancelled.ending, Ending)
    assert not cancelled.ending.retry

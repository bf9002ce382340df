"""What is typed becomes a browser task."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from cloudsync.errors import Misuse
from cloudsync.spec import SPEC
from cloudsync.task import FINAL, TaskState
from cloudsync.terminal import browse
from cloudsync.terminal.browse import Plan
from cloudsync.terminal.ending import OURS
from cloudsync.terminal.files import Wanted

GOTO = {"action": "goto", "url": "https://a.example/"}


def plan(*words: str) -> Plan:
    parser = argparse.ArgumentParser()
    browse.add_flags(parser)
    return browse.plan_of(parser.parse_args(words))


def test_a_page_alone_is_gone_to() -> None:
    found = plan("https://a.example/")
    assert found == Plan({"kind": "browser.run", "steps": [GOTO]})
    SPEC.validate_python(found.body, strict=False)


def test_files_that_are_wanted_are_the_last_steps(tmp_path: Path) -> None:
    picture, paper, trace = tmp_path / "a.JPG", tmp_path / "a.pdf", tmp_path / "t.zip"
    found = plan(
        "https://a.example/", "--pdf", str(paper), "--screenshot", str(picture), "--full-page", "--trace", str(trace)
    )
    assert found.body == {
        "kind": "browser.run",
        "steps": [GOTO, {"action": "screenshot", "type": "jpeg", "full_page": True}, {"action": "pdf"}],
        "trace": True,
    }
    assert found.wanted == (
        Wanted("--screenshot", picture, 2),
        Wanted("--pdf", paper, 1),
        Wanted("--trace", trace, None),
    )
    SPEC.validate_python(found.body, strict=False)


def test_steps_of_a_file_come_between_and_what_is_typed_wins(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("allow: [10.0.0.1]\nprofile: old\nlocale: de-DE\nsteps:\n  - action: title\n")
    flags = ["--allow", "localhost", "--profile", "new", "--timeout", "5", "--screenshot", str(tmp_path / "a.png")]
    found = plan("https://a.example/", "--steps", str(file), *flags)
    assert found.body == {
        "kind": "browser.run",
        "allow": ["10.0.0.1", "localhost"],
        "profile": "new",
        "locale": "de-DE",
        "timeout_s": 5.0,
        "steps": [GOTO, {"action": "title"}, {"action": "screenshot", "type": "png"}],
    }
    assert plan("--steps", str(file)).body["steps"] == [{"action": "title"}]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no page is given"),
        (["a.example"], "'a.example' has no scheme"),
        (["http://a", "--screenshot", "a.gif"], "is no picture"),
        (["http://a", "--screenshot", "/no/such/a.png"], "which is no folder"),
        (["http://a", "--pdf", "/tmp"], "--pdf /tmp is a folder"),
        (["http://a", "--trace", "/no/such/t.zip"], "--trace"),
        (["http://a", "--full-page"], "--full-page is for --screenshot"),
        (["--steps", "/no/such"], "--steps /no/such cannot be read"),
    ],
)
def test_what_cannot_be_is_said_with_a_way(words: list[str], says: str) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        plan(*words)
    assert caught.value.hint


def test_a_file_that_is_no_steps_is_said_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("steps:\n  - action: title\n  - {action: [\n")
    with pytest.raises(Misuse, match="line"):
        plan("--steps", str(file))


def test_a_wrong_step_has_the_number_that_it_has_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("- action: title\n- {action: clikc, selector: a}\n")
    with pytest.raises(Misuse, match=r"steps.yaml: step 2: unknown action 'clikc', did you mean 'click'\?") as caught:
        plan("https://a.example/", "--steps", str(file))
    assert caught.value.hint
    file.write_text("- {action: fill, selector: a, text: '{{x}}'}\n")
    with pytest.raises(Misuse, match=r"steps\.yaml: step 1"):
        plan("https://a.example/", "--steps", str(file))
    file.write_text("[]")
    assert plan("https://a.example/", "--steps", str(file)).body["steps"] == [GOTO]


@pytest.mark.parametrize(
    ("state", "status"), [("succeeded", 0), ("failed", 1), ("timed_out", 124), ("cancelled", OURS), ("rejected", OURS)]
)
def test_the_command_ends_as_the_task_did(state: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    task: dict[str, Any] = {"id": "t-1", "state": state, "error": {"message": "step 2 (click): gone", "hint": "look"}}
    assert browse.exit_status("operis", task, TaskState(state)) == status
    assert ("step 2 (click): gone\nhint: look" in capsys.readouterr().err) is (status != 0)


@pytest.mark.parametrize("state", sorted(set(TaskState) - FINAL))
def test_a_task_that_is_not_over_is_no_success(state: TaskState) -> None:
    assert browse.exit_status("operis", {"id": "t", "state": str(state)}, state) == OURS

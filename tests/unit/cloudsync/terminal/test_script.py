"""What is typed becomes the fields of a task."""

from pathlib import Path
from typing import Any

import pytest

from cloudsync.errors import Misuse
from cloudsync.terminal import script


def body(words: list[str], **fields: Any) -> dict[str, Any]:
    given = {"stdin": None, "env": None, "more": {}} | fields
    return script.bash_body(words, example="operis run box-1 -- uptime", **given)


@pytest.mark.parametrize(
    ("words", "command"), [(["echo $HOME; ls"], "echo $HOME; ls"), (["ls", "a b", "$HOME"], "ls 'a b' '$HOME'")]
)
def test_one_word_is_a_script_and_several_are_a_command(words: list[str], command: str) -> None:
    assert body(words) == {"kind": "bash.exec", "command": command}


def test_what_is_not_given_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("line\n")
    made = body(["x"], stdin=str(tmp_path / "in"), env=["A=1", "B=x=y"], more={"cwd": None, "timeout_s": 5.0})
    assert made == {
        "kind": "bash.exec",
        "command": "x",
        "stdin": "line\n",
        "env": {"A": "1", "B": "x=y"},
        "timeout_s": 5.0,
    }


@pytest.mark.parametrize(
    ("words", "fields", "says"),
    [
        ([], {}, "no command is given"),
        ([" "], {}, "no command is given"),
        (["x"], {"env": ["A"]}, "--env 'A' is not NAME=VALUE"),
        (["x"], {"env": ["=1"]}, "--env '=1' is not NAME=VALUE"),
        (["x"], {"stdin": "/no/such/file"}, "--stdin /no/such/file cannot be read"),
    ],
)
def test_what_cannot_be_is_said_with_a_way(words: list[str], fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        body(words, **fields)
    assert caught.value.hint


def test_fields_that_are_wrong_are_said_by_their_flags() -> None:
    wrong = [("timeout_s", "Input should be greater than 0"), ("env.A-B.[key]", "Value error, no name"), ("x", "odd")]
    assert script.by_flags(wrong) == "--timeout: should be greater than 0; --env A-B: no name; x: odd"
    assert script.by_flags([("steps.2.url", "step 2 (goto): url: no")]) == "step 2 (goto): url: no"


def test_what_follows_the_first_dashes_is_not_looked_at() -> None:
    assert script.split(["exec", "--json", "--", "ls", "--", "-x"]) == (["exec", "--json"], ["ls", "--", "-x"])
    assert script.split(["tasks"]) == (["tasks"], [])


def test_word_that_is_no_text_is_refused() -> None:
    with pytest.raises(Misuse, match="UTF-8"):
        script.checked(["a", "\udcff"])

"""Steps as they end, and what they read."""

import io
from typing import Any, get_args

import pytest

from cloudsync.steps import ACTIONS, Reading
from cloudsync.terminal.steps import READING, VALUE_LINES, Steps, step_words

BODY = {
    "steps": [
        {"action": "goto", "url": "https://a.example/"},
        {"action": "click", "selector": "text=More"},
        {"action": "text", "selector": "h1"},
        {"action": "screenshot"},
    ]
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ascii(io.StringIO):
    encoding = "ascii"


def report(index: int, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    action = BODY["steps"][index - 1]["action"]
    return {"index": index, "total": 4, "action": action, "name": "", "state": state, "duration_ms": 240} | more


def shown(*reports: dict[str, Any], task: dict[str, Any] | None = None, file: io.StringIO | None = None) -> list[str]:
    out = file or io.StringIO()
    steps = Steps(BODY, out)
    for one in reports:
        steps.show(one)
    if task is not None:
        steps.rest(task)
    return out.getvalue().splitlines()


def result(state: str, value: object = None, action: str = "text", **more: Any) -> dict[str, Any]:
    return {"action": action, "name": None, "state": state, "value": value, "duration_ms": 5, "error": None} | more


def test_each_step_is_a_line_with_what_it_did_and_how_long() -> None:
    assert shown(report(1), report(2, "failed", duration_ms=30_000), report(3, "skipped", name="read the title")) == [
        "✓ 1 goto https://a.example/ 240 ms",
        "✗ 2 click text=More 30 s",
        "- 3 read the title",
    ]


def test_a_step_is_shown_once_and_what_was_missed_at_the_end() -> None:
    task = {
        "result": {"steps": [result("succeeded", action="goto"), result("failed", action="click"), result("skipped")]}
    }
    assert shown(report(1), report(1), task=task) == [
        "✓ 1 goto https://a.example/ 240 ms",
        "✗ 2 click text=More 5 ms",
        "- 3 text h1",
    ]
    assert shown(task={"result": None}) == []


def test_what_was_read_is_shown_at_the_end_and_what_was_kept_is_not() -> None:
    values = [result("succeeded", {"url": "u", "status": 200}, "goto"), result("succeeded", {"a": "ü"}, "evaluate")]
    values.append(result("succeeded", "Title\nSub\x1b[2J", name="h"))
    values.append(result("succeeded", "04-screenshot.png", "screenshot"))
    assert shown(report(1), report(2), report(3), report(4), task={"result": {"steps": values}})[4:] == [
        '2 evaluate: {"a": "ü"}',
        "3 h: Title",
        "     Sub\N{REPLACEMENT CHARACTER}[2J",
    ]


def test_a_page_that_was_refused_is_said() -> None:
    missing = result("succeeded", {"url": "u", "status": 404}, "goto")
    assert shown(report(1), task={"result": {"steps": [missing]}})[1:] == ["1 goto: status 404"]


def test_a_step_that_the_end_cut_off_is_named() -> None:
    cut_off = {**result("failed", action="click"), "error": {"code": "cut_off"}}
    task = {"state": "timed_out", "result": {"steps": [result("succeeded", action="goto"), cut_off]}}
    assert shown(report(1), task=task)[1:] == ["✗ 2 click text=More: did not end"]
    assert shown(task={"state": "cancelled"}) == []


def test_steps_that_did_not_fit_are_counted_and_no_other_gets_their_number() -> None:
    task = {"result": {"steps": [result("succeeded", "x"), result("succeeded", "y")], "steps_left_out": 2}}
    assert shown(report(1), task=task)[1:] == ["… 2 steps did not fit: result.json has them all"]


def test_a_long_value_is_cut_and_that_is_said() -> None:
    text = "\n".join(str(number) for number in range(100))
    lines = shown(report(1), task={"result": {"steps": [result("succeeded", text, "evaluate")]}})
    assert len(lines) == VALUE_LINES + 3
    assert lines[-1].strip() == f"… {99 - VALUE_LINES} more lines"


def test_the_steps_that_read_are_those_of_the_union() -> None:
    reading = {action for action, step in ACTIONS.items() if step in get_args(Reading)}
    assert reading | {"get_cookies", "download"} == READING


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"action": "goto", "url": "http://a"}, "goto http://a"),
        ({"action": "click", "selector": "#b"}, "click #b"),
        ({"action": "pdf"}, "pdf"),
        (3, "?"),
        (None, "?"),
    ],
)
def test_a_step_is_told_in_a_few_words(step: object, words: str) -> None:
    assert step_words(step) == words


def test_a_line_fits_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    (line,) = shown(report(1), file=Terminal())
    assert line == "✓ 1 goto https://a.ex… 240 ms"
    assert len(line) < 30


def test_a_terminal_without_the_marks_gets_words() -> None:
    assert [line.split()[0] for line in shown(report(1), report(2, "failed"), file=Ascii())] == ["ok", "FAILED"]


def test_a_step_that_the_task_does_not_have_is_shown_by_its_action() -> None:
    steps = Steps({"steps": []}, out := io.StringIO())
    steps.show(report(1, name=""))
    assert out.getvalue() == "✓ 1 goto 240 ms\n"

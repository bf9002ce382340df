"""The messages of daemon and runner."""

import pytest
from pydantic import BaseModel

from appliance.browser import wire
from cloudsync.spec import SPEC, BrowserRun, ErrorBody, StepResult, StepState

SECRET = "correct-horse"


def spec() -> BrowserRun:
    made = SPEC.validate_python({"kind": "browser.run", "steps": [{"action": "goto", "url": "https://a.example"}]})
    assert isinstance(made, BrowserRun)
    return made


STEP = StepResult(action="goto", state=StepState.SUCCEEDED, value={"a": None, "b": [None, "ü\n"]}, duration_ms=3)
ERROR = ErrorBody(code="c", message="m", hint="h")


@pytest.mark.parametrize(
    "message",
    [
        wire.Run(key="t.1", spec=spec(), folder="/f", secrets={"k": SECRET}, state_file=None),
        wire.Cancel(key="t.1"),
        wire.Quit(),
    ],
)
def test_what_the_daemon_says_is_read_as_it_was_said(message: BaseModel) -> None:
    line = wire.encode(message)
    assert line.count(b"\n") == 1
    assert wire.TO_RUNNER.validate_json(line) == message


@pytest.mark.parametrize(
    "message",
    [
        wire.Hello(token="t"),
        wire.Ready(browser=wire.Browser(program="/p", version="1", has_sandbox=True)),
        wire.Unable(error=ERROR),
        wire.Started(key="t.1"),
        wire.Stepped(key="t.1", index=0, result=STEP),
        wire.Done(
            key="t.1",
            state=wire.RunState.FAILED,
            error=ERROR,
            files=(wire.LeftFile(name="a", media_type="b", path="c"),),
        ),
        wire.Memory(pss_mib=1),
        wire.Worn(why="w"),
        wire.Lost(what="w"),
    ],
)
def test_what_the_runner_says_is_read_as_it_was_said(message: BaseModel) -> None:
    assert wire.decode_from_runner(wire.encode(message)) == message


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"type": "quit"}', b"\xff", b'{"type": "done", "key": 5}'])
def test_what_is_no_message_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode_from_runner(line)


def test_secrets_and_tokens_are_not_shown() -> None:
    run = wire.Run(key="t.1", spec=spec(), folder="/f", secrets={"k": SECRET}, state_file=None)
    place = wire.Place(address="a", token=SECRET, slots=1, memory_limit_mib=1, program=None)
    assert SECRET not in repr([run, place, wire.Hello(token=SECRET)])

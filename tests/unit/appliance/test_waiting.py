"""The order in which tasks that wait start."""

from typing import Any

import pytest

from appliance.live import LiveTask
from appliance.waiting import Lane, Waiting
from cloudsync.spec import SPEC
from cloudsync.task import Origin

BASH = {"kind": "bash.exec", "command": "echo"}


def browser(profile: str | None = None) -> dict[str, Any]:
    return {"kind": "browser.run", "steps": [{"action": "title"}], "profile": profile}


def task(name: str, spec: dict[str, Any] | None = None, origin: Origin = Origin.LOCAL) -> LiveTask:
    return LiveTask(name, SPEC.validate_python(spec or BASH), "", origin, "", 0, 0)


def drained(waiting: Waiting, *, hubs: bool = True, browsers: bool = True, busy: frozenset[str] = frozenset()) -> str:
    def may_start(lane: Lane) -> bool:
        if lane.is_hubs and not hubs:
            return False
        return not lane.is_browser or (browsers and lane.profile not in busy)

    names = ""
    while (each := waiting.next(may_start)) is not None:
        names += each.id
    return names


def filled(*tasks: LiveTask) -> Waiting:
    waiting = Waiting()
    for each in tasks:
        waiting.append(each)
    return waiting


def test_all_start_in_their_order_where_nothing_holds_them() -> None:
    waiting = filled(task("a"), task("b", browser()), task("c", origin=Origin.HUB), task("d", browser("p")), task("e"))
    assert [each.id for each in waiting] == list("abcde")
    assert (len(waiting), drained(waiting), len(waiting)) == (5, "abcde", 0)


def test_what_cannot_start_holds_up_nothing_behind_it() -> None:
    tasks = [task("a", browser()), task("b", browser("p")), task("c"), task("d", browser("q")), task("e", browser("p"))]
    waiting = filled(*tasks)
    assert drained(waiting, browsers=False) == "c"
    assert drained(waiting, busy=frozenset({"p"})) == "ad"
    assert [each.id for each in waiting] == list("be")
    assert drained(waiting) == "be"


def test_what_the_hub_made_can_be_held_as_a_whole() -> None:
    waiting = filled(task("a", origin=Origin.HUB), task("b"), task("c", browser(), Origin.HUB), task("d", browser()))
    assert drained(waiting, hubs=False) == "bd"
    assert drained(waiting) == "ac"


def test_one_can_be_taken_out_from_anywhere_and_only_once() -> None:
    tasks = [task(name) for name in "abc"]
    waiting = filled(*tasks)
    waiting.remove(tasks[1])
    with pytest.raises(ValueError, match="task b does not wait"):
        waiting.remove(tasks[1])
    assert (len(waiting), drained(waiting)) == (2, "ac")
    waiting.append(tasks[0])
    waiting.clear()
    assert (len(waiting), list(waiting)) == (0, [])

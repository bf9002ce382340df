"""A runner's seat: its timers, and what is said to a runner that is gone."""

import asyncio
from pathlib import Path

from appliance.browser.seat import Seat, Stage
from appliance.browser.wire import Quit


def seat() -> Seat:
    return Seat("key", "token", Path("/f"), Path("/t"))


async def test_only_the_last_call_of_a_name_comes_and_none_that_was_calmed() -> None:
    one = seat()
    assert one.stage is Stage.STARTING
    calls: list[str] = []
    came = asyncio.Event()
    one.after("a", 0.0, lambda: calls.append("first"))
    one.after("a", 0.0, lambda: calls.append("second"))
    one.after("c", 0.0, came.set)
    one.after("b", 0.0, lambda: calls.append("calmed"))
    one.calm("b")
    one.calm("unknown")
    await asyncio.wait_for(came.wait(), 5)
    assert calls == ["second"]


async def test_nothing_comes_after_the_close_and_what_is_said_goes_nowhere() -> None:
    one = seat()
    calls: list[str] = []
    one.after("a", 0.0, lambda: calls.append("late"))
    one.say(Quit())
    one.close()
    one.say(Quit())
    await asyncio.sleep(0.01)
    assert calls == []

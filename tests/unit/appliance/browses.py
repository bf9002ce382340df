"""What tests of browser tasks ask for, and what they look at."""

from typing import Any

import psutil

from appliance.engine import Engine
from appliance.live import Finished
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.engines import Engines, until

SECRET = "correct-horse-battery"


def goto(pages: Pages, path: str = "/") -> dict[str, Any]:
    return {"action": "goto", "url": f"{pages.url}{path}"}


WAIT: dict[str, Any] = {"action": "wait_for", "milliseconds": 600_000}


def code(done: Finished) -> str:
    return done.outcome.error.code if done.outcome.error is not None else ""


def steps(done: Finished) -> list[tuple[str, str]]:
    assert done.outcome.result is not None
    return [(step["action"], step["state"]) for step in done.outcome.result["steps"]]


def names(done: Finished) -> set[str]:
    return {artifact.name for artifact in done.outcome.artifacts}


def content(engines: Engines, done: Finished, name: str) -> bytes:
    (artifact,) = [one for one in done.outcome.artifacts if one.name == name]
    return (engines.path / "artifacts" / artifact.sha256).read_bytes()


def runner(engines: Engines) -> psutil.Process:
    """The one runner that lives."""
    assert engines.engine is not None
    (seat,) = engines.engine.executor.browsing.supervisor._seats.values()
    assert seat.pid is not None
    return psutil.Process(seat.pid)


async def stepped(engine: Engine, task_id: str) -> None:
    """Until a task has done a step."""
    await until("a step", lambda: bool(engine.executor.tasks[task_id].steps))

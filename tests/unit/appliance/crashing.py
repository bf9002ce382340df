"""An engine that is killed at one named point of one task: `python -m tests.unit.appliance.crashing DATA POINT SPEC`.

Everything is real but the one operation, which ends the process by SIGKILL instead of, or right after, being done.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from appliance import journal
from appliance.engine import Engine, EngineSettings
from appliance.executor import Executor, Limits
from appliance.journal import ADD_TASK, END_TASK, INTEND
from appliance.outcomes import Outcomes
from appliance.spawn import Exited, Spawner
from cloudsync.spec import SPEC
from tests.unit.appliance import commits

Call = Callable[..., Any]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before(owner: type, name: str, applies: Callable[..., bool] = lambda *_: True) -> None:
    """Die where the operation would begin."""
    real: Call = getattr(owner, name)

    @wraps(real)
    def broken(self: Any, *arguments: Any, **named: Any) -> Any:
        if applies(*arguments):
            die()
        return real(self, *arguments, **named)

    setattr(owner, name, broken)


def kill_after(owner: type, name: str, applies: Callable[..., bool] = lambda *_: True) -> None:
    """Die as soon as the operation is done; what was to be written to the spawner is written."""
    real: Call = getattr(owner, name)

    @wraps(real)
    def broken(self: Any, *arguments: Any, **named: Any) -> Any:
        result = real(self, *arguments, **named)
        if applies(*arguments):
            if isinstance(self, Spawner):
                self._flush()
            die()
        return result

    setattr(owner, name, broken)


def die_with(sql: str) -> commits.Step:
    """Die at a commit that has such a statement."""
    return lambda statements: die() if sql in statements else None


def kill_before_commit(sql: str) -> None:
    """Die where what the statement says would become durable."""
    vars(journal)["_open_checked"] = commits.wrapped(commits.real_open(), die_with(sql), commits.nothing)


def kill_after_commit(sql: str) -> None:
    """Die as soon as what the statement says is durable."""
    vars(journal)["_open_checked"] = commits.wrapped(commits.real_open(), commits.nothing, die_with(sql))


POINTS: dict[str, Callable[[], None]] = {
    "before the task is durable": lambda: kill_before_commit(ADD_TASK),
    "after the task is durable": lambda: kill_after_commit(ADD_TASK),
    "before its process is ordered": lambda: kill_before(Executor, "spawn"),
    "after its process is ordered": lambda: kill_after(Spawner, "spawn"),
    "when it has started": lambda: kill_before(Executor, "started"),
    "before its intent is durable": lambda: kill_before_commit(INTEND),
    "after its intent is durable": lambda: kill_after_commit(INTEND),
    "before its end is ordered": lambda: kill_before(Spawner, "terminate"),
    "after its end is ordered": lambda: kill_after(Spawner, "terminate"),
    "when it has ended": lambda: kill_before(Executor, "on_event", lambda event: isinstance(event, Exited)),
    "before its outcome is durable": lambda: kill_before_commit(END_TASK),
    "after its outcome is durable": lambda: kill_after_commit(END_TASK),
    "before its folder goes": lambda: kill_before(Outcomes, "_settle"),
}


async def run(data: Path, point: str, spec: str) -> None:
    POINTS[point]()
    engine = await Engine.open(data, EngineSettings(Limits(disk_floor_bytes=1)))
    await engine.wait(await engine.submit(SPEC.validate_json(spec)))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

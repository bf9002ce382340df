"""A process with a box's engine, no hub, and a warm browser.

Its arguments are a folder and the page's address. A request ``{"window_s"}`` is answered ``{"samples_ms"}``: the time
of each task that navigates and keeps a PNG, from its submission to its durable outcome. ``{"tasks"}`` is answered
``{"pss_mib"}``: what runner, driver and browser take together after each of so many tasks in a row.
"""

import asyncio
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from appliance.browser import memory
from appliance.browser.supervisor import BrowserLimits
from appliance.engine import Engine, EngineSettings
from appliance.spawn import read_started
from cloudsync.spec import BrowserRun
from cloudsync.task import TaskState

# Between two operations of either side: a box makes its next contexts in it, which the floor does not time either.
PAUSE_S: Final = 0.25
# Never in a run: what is measured is one browser.
RECYCLE_TASKS: Final = 100_000


async def _task(engine: Engine, spec: BrowserRun) -> None:
    finished = await engine.wait(await engine.submit(spec))
    if finished is None or finished.state is not TaskState.SUCCEEDED:
        raise SystemExit(f"a task did not succeed: {finished}")


async def _window(engine: Engine, spec: BrowserRun, window_s: float) -> list[float]:
    samples: list[float] = []
    began = perf_counter()
    while perf_counter() - began < window_s:
        await asyncio.sleep(PAUSE_S)
        asked = perf_counter()
        await _task(engine, spec)
        samples.append((perf_counter() - asked) * 1000)
    return samples


async def _in_a_row(engine: Engine, spec: BrowserRun, tasks: int) -> list[int]:
    found = []
    for _ in range(tasks):
        await _task(engine, spec)
        (key,) = engine.executor.browsing.supervisor.keys
        record = read_started(engine.folder.runners / key)
        found.append(0 if record is None else memory.tree_pss_mib(record.pid))
    return found


async def _answer(engine: Engine, spec: BrowserRun, request: dict[str, Any]) -> dict[str, Any]:
    if "tasks" in request:
        return {"pss_mib": await _in_a_row(engine, spec, int(request["tasks"]))}
    return {"samples_ms": await _window(engine, spec, float(request["window_s"]))}


async def _main(folder: Path, url: str) -> None:
    steps = [{"action": "goto", "url": url}, {"action": "screenshot"}]
    spec = BrowserRun.model_validate({"kind": "browser.run", "steps": steps, "allow": ["127.0.0.1"]})
    engine = await Engine.open(folder, EngineSettings(browser=BrowserLimits(recycle_tasks=RECYCLE_TASKS)))
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await _answer(engine, spec, json.loads(line))), flush=True)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))

"""A process with a box's engine and no hub: journal, executor and spawner as the daemon has them.

Its one argument is a folder. A request ``{"window_s", "parallel"}`` is answered ``{"samples_ms", "wall_s"}``: the time
of each `echo test` from its submission to its durable outcome, with so many at once.
"""

import asyncio
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from appliance.engine import Engine
from cloudsync.spec import BashExec
from cloudsync.task import TaskState

SPEC = BashExec(kind="bash.exec", command="echo test")


async def _window(engine: Engine, window_s: float, parallel: int) -> dict[str, Any]:
    samples: list[float] = []
    began = perf_counter()

    async def work() -> None:
        while perf_counter() - began < window_s:
            asked = perf_counter()
            finished = await engine.wait(await engine.submit(SPEC))
            samples.append((perf_counter() - asked) * 1000)
            if finished is None or finished.state is not TaskState.SUCCEEDED:
                raise SystemExit(f"a task did not succeed: {finished}")

    await asyncio.gather(*(work() for _ in range(parallel)))
    return {"samples_ms": samples, "wall_s": perf_counter() - began}


async def _main(folder: Path) -> None:
    engine = await Engine.open(folder)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            answer = await _window(engine, float(request["window_s"]), int(request["parallel"]))
            print(json.dumps(answer), flush=True)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

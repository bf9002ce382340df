"""`operis-box run`: opens everything in order, works until a signal, closes in reverse.

SIGTERM leaves running bash tasks to the spawner, and the next daemon takes them up; SIGINT ends them as interrupted. A
browser ends with its daemon: its tasks are interrupted, but for those that the next daemon may try again.
"""

import asyncio
import gc
import logging
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from appliance import status
from appliance.engine import Engine
from appliance.errors import OperatorError
from appliance.live import now_ms
from appliance.local_api.server import LocalApi
from appliance.settings import BoxSettings
from appliance.uplink import Uplink

log = logging.getLogger(__name__)

# What is old is forgotten in small batches, this often; sooner again where a batch was full.
PRUNE_S: Final = 600.0
# How long a stop by SIGINT waits for the hub to have the last outcomes.
LAST_EVENTS_S: Final = 2.0
# The browser is started when the daemon's own start is over.
BROWSER_AFTER_S: Final = 2.0
# A stop waits no longer for a hub that does not close its end.
UPLINK_STOP_S: Final = 3.0
# The writer thread must not wait a whole default slice (5 ms) for the loop's thread, nor the loop for it.
SWITCH_S: Final = 0.0005


def run(data: Path, settings: BoxSettings) -> int:
    """Run until a signal: 0 after SIGTERM, 130 after SIGINT. Raises `OperatorError` and `SpawnerError`."""
    sys.setswitchinterval(SWITCH_S)
    return asyncio.run(_run(data, settings))


async def _run(data: Path, settings: BoxSettings) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(_stop, stopped, number))
    started_ms = now_ms()
    engine = await Engine.open(data, settings.engine())
    try:
        await asyncio.to_thread(_remember, engine, settings)
        uplink = Uplink(engine)
        api = LocalApi(engine, lambda: status.of_daemon(engine, uplink, started_ms))
        api.start()
        try:
            # What is alive now stays: the collector need not look through it again and again.
            gc.freeze()
            log.info("operis-box ready", extra={"data": data, "box": engine.enrolment.box_id or "not enrolled"})
            return await _work(engine, uplink, stopped, starts_browser=settings.browser == "auto")
        finally:
            await api.stop()
    finally:
        await engine.close()


async def _work(
    engine: Engine, uplink: Uplink, stopped: "asyncio.Future[signal.Signals]", *, starts_browser: bool
) -> int:
    loop = asyncio.get_running_loop()
    if starts_browser:
        loop.call_later(BROWSER_AFTER_S, engine.executor.browsing.supervisor.warm_up)
    linking = loop.create_task(uplink.run())
    pruning = loop.create_task(_prune(engine))
    try:
        await asyncio.wait((stopped, linking, pruning), return_when=asyncio.FIRST_COMPLETED)
        for task in (linking, pruning):
            if task.done():
                task.result()
        number = stopped.result()
        log.info("stopping", extra={"signal": number.name, "running": len(engine.executor.running)})
        if number is signal.SIGINT:
            await engine.end_tasks()
            await uplink.drained(LAST_EVENTS_S)
        elif await engine.end_browsing():
            await uplink.drained(LAST_EVENTS_S)
        return 130 if number is signal.SIGINT else 0
    finally:
        pruning.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(UPLINK_STOP_S):
                await uplink.stop()
        linking.cancel()
        await asyncio.gather(linking, pruning, return_exceptions=True)


def _stop(stopped: "asyncio.Future[signal.Signals]", number: signal.Signals) -> None:
    if not stopped.done():
        stopped.set_result(number)


def _remember(engine: Engine, settings: BoxSettings) -> None:
    """Keep what was said of the hub for the next start."""
    before = engine.enrolment
    if before.box_id is not None and settings.name not in {None, before.name}:
        log.warning("the box is enrolled already and keeps its name", extra={"box": before.box_id})
    token = None if settings.enrol is None else settings.enrol.get_secret_value()
    engine.enrolment = before.told(settings.hub, settings.web, token, settings.name)
    if engine.enrolment != before:
        try:
            engine.enrolment.save(engine.folder.enrolment)
        except OSError as error:
            hint = "Free some space on its disk and let the box's user write there."
            raise OperatorError(f"the settings cannot be remembered: {error.strerror}", hint) from error


async def _prune(engine: Engine) -> None:
    while True:
        await asyncio.sleep(PRUNE_S)
        while engine.prune():
            await engine.journal.committed([])

"""A box without its hub: folder, journal, executor and spawner, opened in order and closed in reverse.

`Engine` is what the daemon is built around, and what anything else that runs tasks in its own process uses:

    engine = await Engine.open(Path("data"))
    finished = await engine.wait(await engine.submit(BashExec(kind="bash.exec", command="echo test")))
    await engine.close()
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from appliance import identity, spawn
from appliance.bash import TaskUser
from appliance.browser.supervisor import BrowserLimits
from appliance.executor import Executor, Limits
from appliance.folder import DataFolder, unusable
from appliance.intake import Intake
from appliance.journal import SET_FACT, Journal, new_incarnation
from appliance.live import Finished, now_ms
from appliance.outbox import Outbox
from appliance.planner import Intent
from appliance.recovery import Recovery
from cloudsync.identity import public_key
from cloudsync.spec import TaskSpec

log = logging.getLogger(__name__)

# How long a stop waits for the disk.
LAST_COMMIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How tasks are run. `task_user` is the user as whom; None is the daemon's own."""

    limits: Limits = field(default_factory=Limits)
    task_user: str | None = None
    browser: BrowserLimits = field(default_factory=BrowserLimits)


class Engine:
    """An open box. `submit` and `wait` take the same way as the hub's commands."""

    def __init__(
        self,
        folder: DataFolder,
        private_key: bytes,
        enrolment: identity.Enrolment,
        journal: Journal,
        executor: Executor,
    ) -> None:
        self.folder = folder
        self.private_key = private_key
        self.enrolment = enrolment
        self.journal = journal
        self.executor = executor
        self.intake = Intake(executor, folder, journal)
        self.outbox = executor.outbox
        self.recovery = Recovery(executor, journal, folder)
        self.incarnation = journal.facts.incarnation

    @classmethod
    async def open(cls, path: Path, settings: EngineSettings | None = None) -> Self:
        """Open or create the data folder `path` and take up its tasks; `OperatorError` or `SpawnerError`."""
        settings = settings or EngineSettings()
        user = TaskUser.named(settings.task_user)
        folder = DataFolder.open(path)
        try:
            if user.switch_to is not None:
                folder.let_pass()
            enrolment = identity.Enrolment.load(folder.enrolment)
            is_old_box = folder.key.exists()
            private_key = identity.load_key(folder.key, create=enrolment.box_id is None)
            journal = Journal.open(folder, public_key(private_key), is_old_box=is_old_box)
        except OSError as error:
            folder.close()
            raise unusable(path, error) from error
        except BaseException:
            folder.close()
            raise
        try:
            facts = journal.facts
            outbox = Outbox(facts.event_seq, facts.acked_event_seq)
            executor = Executor(folder, journal, outbox, settings.limits, user, spawn.boot_id(), settings.browser)
            executor.hub_work_held = facts.hub_work_held
            engine = cls(folder, private_key, enrolment, journal, executor)
            if journal.damaged is not None:
                log.error(
                    "the journal was lost: the box begins a new incarnation",
                    extra={"why": journal.damaged, "incarnation": engine.incarnation},
                )
            executor.artifacts.sweep()
            await engine.recovery.start()
        except BaseException:
            journal.close()
            folder.close()
            raise
        return engine

    async def submit(self, spec: TaskSpec, *, created_by: str = "", task_id: str | None = None) -> str:
        """Take a task on; its id, when it is durable. `TaskRefused` where it is not accepted, `IdReused` as there."""
        return await self.intake.submit(spec, created_by=created_by, task_id=task_id)

    async def wait(self, task_id: str) -> Finished | None:
        """The end of a task; None where the id is not known."""
        return await self.executor.wait(task_id)

    async def end_tasks(self) -> None:
        """Take no more tasks on, and end those that run as interrupted."""
        self.executor.close()
        await self.executor.end_all(Intent.STOP)

    async def end_browsing(self) -> bool:
        """Take no more tasks on and end the browser; whether a task was interrupted by that."""
        self.executor.close()
        await self.executor.browsing.close()
        return self.executor.interrupt_browsing()

    async def close(self) -> None:
        """Stop. What runs goes on under the spawner."""
        self.executor.close()
        await self.recovery.close()
        await self.end_browsing()
        await self.executor.outcomes.close()
        self.executor.disconnect()
        last = [(SET_FACT, ("clean_stop", self.executor.boot_id)), (SET_FACT, ("acked_event_seq", self.outbox.acked))]
        # On a full disk it is never durable.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_COMMIT_S):
                await self.journal.committed(last)
        self.journal.close()
        self.folder.close()

    async def begin_anew(self) -> None:
        """Begin a new incarnation: end what runs, interrupt what waits, count both logs from 1 again."""
        self.executor.hold()
        await self.executor.end_all(Intent.BEGIN_ANEW)
        self.executor.interrupt_waiting()
        while self.journal.head != self.outbox.head:
            await self.journal.committed([])
        shift = self.journal.oldest_event_seq() - 1
        self.incarnation = new_incarnation()
        statements = self.journal.rebase(shift, self.incarnation)
        self.outbox.rebase(shift)
        await self.journal.committed([*statements, (SET_FACT, ("hub_work_held", 0))])
        self.executor.hub_work_held = False
        self.executor.release()
        log.warning("a new incarnation began", extra={"incarnation": self.incarnation})

    async def hold_hub_work(self, held: bool) -> None:
        """Start no hub-made task, or start them again; remembered over a restart."""
        if self.executor.hub_work_held != held:
            self.executor.hub_work_held = held
            await self.journal.committed([(SET_FACT, ("hub_work_held", int(held)))])
            if not held:
                self.executor.fill()

    def prune(self) -> int:
        """Forget a few old things; how many tasks."""
        self.executor.artifacts.tidy(self.executor.limits.keep_days)
        return self.journal.prune(now_ms(), self.outbox.acked, self.executor.limits.keep_days)

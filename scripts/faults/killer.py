"""Kills at random: stops a process, notes what is in flight, kills it, starts it again."""

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import pysqlite3.dbapi2 as sqlite3

from appliance import spawn
from scripts.faults.load import OPEN, Load
from tests.system.plant import BoxProgram, Plant, read_rows
from tests.system.program import wait_until

# Too few tasks in flight: the kill waits, and looks again.
LOOK_S: Final = 0.02
PAUSE_S: Final = 0.3
AWAY_S: Final = 0.5
STARTING_S: Final = 0.6
BURST: Final = 12
# A hub that was killed often makes its boxes come back more slowly: then a restart of the box is due.
RECONNECT_LIMIT_S: Final = 3.0
IN_FLIGHT_LIMIT_S: Final = 60.0
BUSY_S: Final = 0.2
NEWEST: Final = "SELECT id, state, attempt FROM tasks ORDER BY n DESC LIMIT 500"
NONE: Final[frozenset[str]] = frozenset()


class Victim(StrEnum):
    """What is killed."""

    BOX = "box"
    SPAWNER = "spawner"
    HUB = "hub"
    BOX_AND_SPAWNER = "box and spawner"
    BOX_STARTING = "box while it starts"


@dataclass(frozen=True)
class Kill:
    """One kill, and what was in flight while its victim was stopped."""

    victim: Victim
    at_s: float
    in_flight: int
    """Tasks whose POST was answered and whose outcome was not in the ledger."""
    on_box: int
    """Of these, the ones that the box's journal had."""
    ended: int
    """Of these, the ones whose outcome was in the box's journal."""
    running: frozenset[str]
    """Attempts that the journal had as running."""
    at_risk: frozenset[str]
    """Attempts that had a folder and no recorded end when the spawner was killed: they may have been started."""
    lost: frozenset[str]
    """Of these, the ones that had certainly been started."""
    ready_s: float
    """How long until what was killed was back."""


class Killer:
    """Kills one thing at a time, never with fewer than `floor` tasks in flight."""

    def __init__(self, plant: Plant, box: BoxProgram, load: Load, seed: int, floor: int) -> None:
        self.kills: list[Kill] = []
        self._plant = plant
        self._box = box
        self._load = load
        self._chance = random.Random(f"{seed}.kills")
        self._floor = floor
        self._began_s = time.monotonic()
        self._is_connected = True

    def kill(self) -> Kill:
        """Kill the next victim at a random moment and bring back what is gone."""
        time.sleep(self._chance.uniform(0.0, PAUSE_S))
        victim = self._choose()
        kill = self._kill(victim)
        self.kills.append(kill)
        return kill

    def _choose(self) -> Victim:
        victims = [Victim.BOX, Victim.SPAWNER, Victim.HUB, Victim.BOX_AND_SPAWNER, Victim.BOX_STARTING]
        victim = self._chance.choices(victims, weights=[30, 30, 25, 8, 7])[0]
        if self._is_away():
            return Victim.BOX
        return victim

    def _is_away(self) -> bool:
        """Whether the box keeps away from the hub for longer than is worth waiting for."""
        with suppress(AssertionError):
            self._plant.wait_status(self._box.id, "connected", RECONNECT_LIMIT_S)
            return False
        return True

    def _kill(self, victim: Victim) -> Kill:
        if victim is Victim.BOX_STARTING:
            self._box.kill()
            self._box.start(ready=False)
            time.sleep(self._chance.uniform(0.0, STARTING_S))
        until = time.monotonic() + IN_FLIGHT_LIMIT_S
        while True:
            pids = self._pids(victim)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            kill = None
            # Stopped while it opens its database it holds a lock that no reader gets past.
            with suppress(sqlite3.OperationalError):
                kill = self._look(victim)
            if kill is not None and kill.in_flight >= self._floor:
                break
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            assert time.monotonic() < until, f"too few tasks are in flight, and no more come: {kill}"
            time.sleep(LOOK_S)
        if victim is Victim.HUB:
            self._load.hub_is_up.clear()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        began_s = time.monotonic()
        self._restore(victim, pids)
        return replace(kill, ready_s=time.monotonic() - began_s)

    def _pids(self, victim: Victim) -> list[int]:
        match victim:
            case Victim.HUB:
                return [self._plant.hub.pid]
            case Victim.BOX | Victim.BOX_STARTING:
                return [self._box.pid]
            case Victim.SPAWNER:
                return [wait_until("a spawner", lambda: self._box.spawner_pid)]
            case Victim.BOX_AND_SPAWNER:
                return [wait_until("a spawner", lambda: self._box.spawner_pid), self._box.pid]

    def _restore(self, victim: Victim, pids: list[int]) -> None:
        match victim:
            case Victim.HUB:
                self._plant.hub.wait()
                self._plant.hub.start()
                self._load.hub_is_up.set()
            case Victim.BOX | Victim.BOX_AND_SPAWNER | Victim.BOX_STARTING:
                self._box.wait()
                if self._chance.random() < 0.25:
                    self._load.burst(BURST)
                    time.sleep(self._chance.uniform(0.1, AWAY_S))
                self._box.start()
            case Victim.SPAWNER:
                wait_until("another spawner", lambda: self._box.spawner_pid not in {None, *pids})

    def _look(self, victim: Victim) -> Kill:
        answered = self._load.answered()
        in_hub = read_rows(self._plant.hub.database, OPEN, busy_limit_s=BUSY_S)
        rows = read_rows(self._box.journal, NEWEST, busy_limit_s=BUSY_S)
        hub_open = {row["id"] for row in in_hub} & answered
        journal = {row["id"]: row for row in rows}
        on_box = hub_open & journal.keys()
        unfinished = ("accepted", "running")
        at_risk, lost = self._at_risk() if victim in {Victim.SPAWNER, Victim.BOX_AND_SPAWNER} else (NONE, NONE)
        return Kill(
            victim=victim,
            at_s=time.monotonic() - self._began_s,
            in_flight=len(hub_open),
            on_box=len(on_box),
            ended=sum(journal[task_id]["state"] not in unfinished for task_id in on_box),
            running=frozenset(f"{row['id']}.{row['attempt']}" for row in rows if row["state"] == "running"),
            at_risk=at_risk,
            lost=lost,
            ready_s=0.0,
        )

    def _at_risk(self) -> tuple[frozenset[str], frozenset[str]]:
        boot_id = spawn.boot_id()
        unended = [one for one in self._box.attempts() if spawn.read_exit(one, one.name, boot_id) is None]
        started = [one for one in unended if (record := spawn.read_started(one)) and record.key in {one.name, None}]
        return frozenset(one.name for one in unended), frozenset(one.name for one in started)

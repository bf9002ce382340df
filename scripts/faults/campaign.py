"""One campaign: a plant, a load, kills, and the judgement at the end."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.spawner import kernel
from scripts.faults.killer import Kill, Killer, Victim
from scripts.faults.load import OPEN, Load
from scripts.faults.oracle import Breach, Entry, Evidence, judge
from tests.system.plant import BoxProgram, Plant, read_rows

BOX: Final = "box-1"
IN_FLIGHT: Final = 24
IN_FLIGHT_FLOOR: Final = 8
DRAIN_LIMIT_S: Final = 180.0
SHUT_OUT_LIMIT_S: Final = 5.0
SWEEP_LIMIT_S: Final = 20.0
PROGRESS_EVERY: Final = 20


@dataclass(frozen=True)
class Result:
    """What a campaign found."""

    seed: int
    took_s: float
    kills: Sequence[Kill]
    evidence: Evidence
    breaches: Sequence[Breach]
    refusals: Sequence[str]
    unanswered: int
    went_on: int
    """Tasks that ran while the daemon alone was killed, and ended as if it had not been."""


def run(plant: Plant, *, seed: int, kills: int, progress: Callable[[str], None]) -> Result:
    """Start everything, kill so often, let it drain, judge."""
    plant.start_hub()
    box = plant.start_box(BOX)
    diary = plant.folder / "diary"
    diary.touch()
    load = Load(plant, BOX, seed, diary, IN_FLIGHT)
    killer = Killer(plant, box, load, seed, IN_FLIGHT_FLOOR)
    began_s = time.monotonic()
    load.start()
    for number in range(1, kills + 1):
        killer.kill()
        if _is_shut_out(plant):
            progress("the hub has shut the box out: nothing more can be seen")
            break
        if number % PROGRESS_EVERY == 0:
            progress(f"{number} kills, {len(load.submissions)} tasks, {time.monotonic() - began_s:.0f} s")
    load.stop()
    _drain(plant, box)
    evidence = _gather(plant, box, load, killer.kills, diary)
    breaches = judge(evidence)
    return Result(
        seed=seed,
        took_s=time.monotonic() - began_s,
        kills=killer.kills,
        evidence=evidence,
        breaches=breaches,
        refusals=load.refusals,
        unanswered=sum(one.unanswered for one in load.submissions),
        went_on=_went_on(killer.kills, evidence),
    )


def _is_shut_out(plant: Plant) -> bool:
    return bool(plant.api("admin").get(f"boxes/{BOX}")["status"] == "quarantined")


def _drain(plant: Plant, box: BoxProgram) -> None:
    """Until no task is open, or no longer than the limit: what is open then is lost, and the oracle says so."""
    # It may be waiting a long time for the hub that was killed so often; a restart makes it ask at once.
    box.stop()
    box.start()
    until = time.monotonic() + (SHUT_OUT_LIMIT_S if _is_shut_out(plant) else DRAIN_LIMIT_S)
    while read_rows(plant.hub.database, OPEN) and time.monotonic() < until:
        time.sleep(0.1)
    until = time.monotonic() + SWEEP_LIMIT_S
    while box.attempts() and time.monotonic() < until:
        time.sleep(0.1)


def _gather(plant: Plant, box: BoxProgram, load: Load, kills: Sequence[Kill], diary: Path) -> Evidence:
    tasks = {task["id"]: task for task in plant.api().items("tasks")}
    rows = read_rows(plant.hub.database, "SELECT incarnation, seq, type, task_id, state FROM events ORDER BY n")
    damaged = [
        f"{database.name}: {row[0]}"
        for database in (plant.hub.database, box.journal)
        for row in read_rows(database, "PRAGMA integrity_check")
        if row[0] != "ok"
    ]
    return Evidence(
        jobs={one.job.key: one.job for one in load.submissions},
        answered={one.job.key: frozenset(one.ids) for one in load.submissions if one.ids},
        tasks=tasks,
        diary=diary.read_text().splitlines(),
        at_risk=frozenset(attempt for kill in kills for attempt in kill.at_risk),
        lost=frozenset(attempt for kill in kills for attempt in kill.lost),
        ledger=[Entry(row["incarnation"], row["seq"], row["type"], row["task_id"], row["state"]) for row in rows],
        orphans=_orphans(tasks),
        folders=[folder.name for folder in box.attempts()],
        damaged=damaged,
    )


def _orphans(tasks: dict[str, Any]) -> list[str]:
    """Living processes that carry the mark of one of these tasks."""
    found = []
    for pid in kernel.all_pids():
        mark = kernel.read_marker(pid)
        if mark is not None and mark.rpartition(".")[0] in tasks:
            found.append(f"{pid} of {mark}")
    return found


def _went_on(kills: Sequence[Kill], evidence: Evidence) -> int:
    daemon_kills = (kill for kill in kills if kill.victim in {Victim.BOX, Victim.BOX_STARTING})
    attempts = {attempt for kill in daemon_kills for attempt in kill.running} - evidence.at_risk
    tasks = (evidence.tasks.get(attempt.rpartition(".")[0]) for attempt in attempts)
    return sum(task is not None and task["state"] in {"succeeded", "failed"} for task in tasks)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {"python": platform.python_version(), "kernel": platform.release()}


def by_victim(kills: Sequence[Kill]) -> dict[str, int]:
    """How many of each kind."""
    return dict(Counter(kill.victim.value for kill in kills))

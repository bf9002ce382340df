"""A campaign of browser tasks on hostile pages while what they run in is killed, and the judgement at its end."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from cloudsync.task import FINAL
from scripts.faults.oracle import Breach
from scripts.faults.site import Site
from scripts.faults.stalker import Blow, Prey, Stalker
from scripts.faults.visits import EXPECTED, Visit, make_visit
from tests.system.api import Unreachable
from tests.system.plant import BoxProgram, Plant
from tests.system.program import wait_until

BOX: Final = "box-1"
IN_FLIGHT: Final = 10
TASKS_A_KILL: Final = 10
DRAIN_LIMIT_S: Final = 120.0
GONE_LIMIT_S: Final = 20.0
# What may come of a task that was hit, beside what would have come of it.
HIT: Final = frozenset(
    {("interrupted", "browser_crashed"), ("interrupted", "browser_lost"), ("failed", "page_crashed")}
)
PROGRESS_EVERY: Final = 50


@dataclass(frozen=True)
class Result:
    """What a campaign found."""

    seed: int
    took_s: float
    visits: Mapping[str, Visit]
    """By the id of the task."""
    tasks: Mapping[str, Mapping[str, Any]]
    """What the API says of each, by id."""
    blows: Sequence[Blow]
    breaches: Sequence[Breach]

    def figures(self) -> dict[str, Any]:
        """Every figure."""
        back = {prey: [blow.back_s for blow in self.blows if blow.prey is prey and blow.back_s] for prey in Prey}
        ends = Counter(" ".join(_end(task)).strip() for task in self.tasks.values())
        return {
            "seed": self.seed,
            "took_s": round(self.took_s, 1),
            "tasks": len(self.tasks),
            "ends": dict(ends.most_common()),
            "kills": {prey.value: sum(blow.prey is prey for blow in self.blows) for prey in Prey},
            "browser_back_after_s": {
                prey.value: f"{min(times):.1f} to {max(times):.1f}" for prey, times in back.items() if times
            },
            "retried_attempts": sum(max(0, task["attempt"] - 1) for task in self.tasks.values()),
            "breaches": [vars(breach) for breach in self.breaches],
        }

    def as_json(self) -> str:
        """The figures as JSON."""
        return json.dumps(self.figures(), indent=1) + "\n"

    def as_text(self) -> str:
        """The figures as lines, breaches last."""
        lines = [f"{name.replace('_', ' ')}: {value}" for name, value in self.figures().items() if name != "breaches"]
        lines += [f"BROKEN: {one.promise}: {one.about}: {one.what}" for one in self.breaches[:40]]
        return "\n".join(lines if self.breaches else [*lines, "every promise was kept"]) + "\n"


def run(plant: Plant, *, seed: int, tasks: int, progress: Callable[[str], None]) -> Result:
    """Start everything, let the tasks run while something is killed for every ten of them, judge."""
    plant.start_hub()
    box = plant.start_box(BOX, env={"OPERIS_BOX_BROWSER": "auto", "OPERIS_BOX_BROWSER_CONCURRENCY": "3"})
    site = Site()
    stalker = Stalker(box, seed)
    began_s = time.monotonic()
    visits: dict[str, Visit] = {}
    try:
        while len(visits) < tasks:
            while len(visits) < tasks and _open(plant) < IN_FLIGHT:
                visit = make_visit(seed, len(visits), site.url)
                visits[_submit(plant, visit)] = visit
            if len(visits) // TASKS_A_KILL > len(stalker.blows):
                stalker.strike()
            if len(visits) % PROGRESS_EVERY == 0:
                progress(f"{len(visits)} tasks, {len(stalker.blows)} kills, {time.monotonic() - began_s:.0f} s")
            time.sleep(0.02)
        _drain(plant)
        found = {task["id"]: task for task in plant.api().items("tasks")}
        breaches = [*judge(visits, found, stalker.blows, site.visits), *_left(box)]
    finally:
        site.close()
    return Result(seed, time.monotonic() - began_s, visits, found, stalker.blows, breaches)


def _open(plant: Plant) -> int:
    return sum(task["state"] not in FINAL for task in plant.api().get("tasks?limit=60")["items"])


def _submit(plant: Plant, visit: Visit) -> str:
    while True:
        try:
            answer = plant.api().ask("POST", f"boxes/{BOX}/tasks", visit.body(), headers={"Idempotency-Key": visit.key})
        except Unreachable:
            continue
        assert answer.status in {200, 201}, f"{visit.key}: {answer.status} {answer.data.decode(errors='replace')}"
        task_id: str = answer.json["id"]
        return task_id


def _drain(plant: Plant) -> None:
    """Until no task is open, or no longer than the limit: what is open then is lost, and that is said."""
    until = time.monotonic() + DRAIN_LIMIT_S
    while _open(plant) and time.monotonic() < until:
        time.sleep(0.1)


def _line(states: Sequence[str]) -> str:
    return "".join(f"{state} " for state in states)


def _end(task: Mapping[str, Any]) -> tuple[str, str]:
    return task["state"], (task["error"] or {}).get("code", "")


def _overlap(task: Mapping[str, Any], blow: Blow) -> bool:
    """Whether the task ran in the time of the kill; one that did not end ran on."""
    if task["started_at"] is None:
        return False
    began_s = datetime.fromisoformat(task["accepted_at"] or task["started_at"]).timestamp()
    ended_s = began_s if task["ended_at"] is None else datetime.fromisoformat(task["ended_at"]).timestamp()
    return began_s <= blow.to_s and ended_s >= blow.from_s


def judge(
    visits: Mapping[str, Visit],
    tasks: Mapping[str, Mapping[str, Any]],
    blows: Sequence[Blow],
    site_visits: Mapping[str, int],
) -> list[Breach]:
    """What was not as promised of the tasks."""
    hit = {task_id for task_id, task in tasks.items() if any(_overlap(task, blow) for blow in blows)}
    breaches = []
    for task_id, visit in visits.items():
        task = tasks.get(task_id)
        about = f"{visit.kind} {task_id}"
        if task is None or task["state"] not in FINAL:
            breaches.append(Breach("every task has an outcome", about, "none" if task is None else task["state"]))
            continue
        expected = EXPECTED[visit.kind] | (HIT if task_id in hit else frozenset())
        if _end(task) not in expected:
            said = f"{_end(task)}, not one of {sorted(expected)}: {(task['error'] or {}).get('message')}"
            breaches.append(Breach("an outcome names what happened", about, said))
        if task["state"] != "succeeded" and not (task["error"] or {}).get("message"):
            breaches.append(Breach("an outcome names what happened", about, f"{task['state']} without a word"))
        steps = [step["state"] for step in (task["result"] or {"steps": []})["steps"]]
        if task["state"] == "succeeded" and steps != ["succeeded"] * len(visit.steps):
            breaches.append(Breach("steps agree with the outcome", about, f"succeeded with {steps}"))
        # Done ones, the one that was under way, and those it did not come to; it can be hit after its last step too.
        if task["state"] == "interrupted" and not re.fullmatch("(succeeded )*((failed )?(skipped )*)", _line(steps)):
            breaches.append(Breach("steps agree with the outcome", about, f"interrupted with {steps}"))
        gotos = sum(step["action"] == "goto" for step in visit.steps) + (visit.kind == "download")
        if not visit.is_idempotent and visit.kind != "refresh" and site_visits.get(visit.key, 0) > gotos:
            said = f"its page was asked for {site_visits[visit.key]} times by {gotos} steps"
            breaches.append(Breach("none starts twice", about, said))
        if task["attempt"] > 1 and (not visit.is_idempotent or task_id not in hit):
            breaches.append(Breach("none starts twice", about, f"attempt {task['attempt']}, and nothing hit it"))
    return breaches


def _left(box: BoxProgram) -> list[Breach]:
    """What a box leaves that was stopped in order."""
    data = str(box.data)
    box.stop()

    def processes() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                marks = process.environ() if "hromium" in words or "playwright" in words else {}
            except psutil.Error:
                continue
            if f"{data}/browser" in words or data in marks.get("TMPDIR", ""):
                found.append(f"{process.pid} {words[:80]}")
        return found

    try:
        wait_until("the end of every browser", lambda: not processes(), GONE_LIMIT_S)
    except AssertionError:
        return [Breach("no process is left", "process", one) for one in processes()]
    folders: list[Path] = [path for part in ("tmp", "runners") for path in (box.data / "browser" / part).iterdir()]
    folders += box.attempts()
    return [Breach("no folder is left", "folder", str(one.relative_to(box.data))) for one in folders]

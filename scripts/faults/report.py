"""A campaign's figures, as text for people and JSON for programs."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from scripts.faults.campaign import Result, by_victim, machine
from scripts.faults.killer import Kill


def share_between(kills: Sequence[Kill]) -> float:
    """The share of kills at which a task was accepted by the box and not yet in the ledger with its outcome."""
    return sum(kill.on_box > 0 for kill in kills) / len(kills) if kills else 0.0


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)} if values else {}


def figures(result: Result) -> dict[str, Any]:
    """Every figure."""
    evidence, kills = result.evidence, result.kills
    tasks = evidence.tasks.values()
    starts = [line for line in evidence.diary if line.startswith("s ")]
    ready: dict[str, dict[str, float]] = {}
    for victim in by_victim(kills):
        times = [round(kill.ready_s, 3) for kill in kills if kill.victim.value == victim]
        ready[victim] = _spread(times)
    return {
        "seed": result.seed,
        "took_s": round(result.took_s, 1),
        "machine": machine(),
        "kills": len(kills),
        "kills_by_victim": by_victim(kills),
        "in_flight_at_kill": _spread([kill.in_flight for kill in kills]),
        "in_flight_distribution": {str(n): count for n, count in sorted(Counter(k.in_flight for k in kills).items())},
        "on_box_at_kill": _spread([kill.on_box for kill in kills]),
        "running_at_kill": _spread([len(kill.running) for kill in kills]),
        "ended_unledgered_at_kill": _spread([kill.ended for kill in kills]),
        "share_between_acceptance_and_ledger": round(share_between(kills), 3),
        "share_with_an_outcome_unledgered": round(sum(kill.ended > 0 for kill in kills) / max(1, len(kills)), 3),
        "back_after_s": ready,
        "tasks": len(tasks),
        "states": dict(Counter(task["state"] for task in tasks)),
        "starts": len(starts),
        "retried_attempts": sum(max(0, task["attempt"] - 1) for task in tasks),
        "attempts_at_risk": len(evidence.at_risk),
        "went_on_through_a_daemon_kill": result.went_on,
        "unanswered_posts_sent_again": result.unanswered,
        "ledger_events": len(evidence.ledger),
        "refusals": list(result.refusals),
        "breaches": [vars(breach) for breach in result.breaches],
    }


def as_json(result: Result) -> str:
    """The figures as JSON."""
    return json.dumps(figures(result), indent=1) + "\n"


def as_text(result: Result) -> str:
    """The figures as lines, breaches last."""
    lines = []
    for name, value in figures(result).items():
        if name in {"breaches", "refusals", "in_flight_distribution"}:
            continue
        shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name.replace('_', ' ')}: {shown}")
    counts = Counter(breach.promise for breach in result.breaches)
    lines += [f"BROKEN, {count} times: {promise}" for promise, count in counts.items()]
    lines += [f"  {breach.promise}: {breach.about}: {breach.what}" for breach in result.breaches[:40]]
    lines += [f"REFUSED {refusal}" for refusal in result.refusals[:10]]
    if not result.breaches and not result.refusals:
        lines.append("every promise was kept")
    return "\n".join(lines) + "\n"

"""The browser tasks of a campaign: what each does to a page, and what may come of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# How often each is chosen, in a hundred.
WEIGHTS: Final[Mapping[str, int]] = {
    "look": 38,
    "absent": 10,
    "linger": 14,
    "greedy": 3,
    "endless": 4,
    "dialogs": 6,
    "staying": 6,
    "refresh": 6,
    "font": 4,
    "download": 4,
    "huge": 3,
    "loop": 2,
}
# Each end as state and code of the error.
EXPECTED: Final[Mapping[str, frozenset[tuple[str, str]]]] = {
    "look": frozenset({("succeeded", "")}),
    "absent": frozenset({("failed", "step_failed")}),
    "linger": frozenset({("succeeded", "")}),
    "greedy": frozenset({("failed", "page_crashed")}),
    "endless": frozenset({("failed", "step_failed")}),
    "dialogs": frozenset({("succeeded", "")}),
    "staying": frozenset({("succeeded", "")}),
    # It may be looked at between two loads.
    "refresh": frozenset({("succeeded", ""), ("failed", "step_failed")}),
    "font": frozenset({("succeeded", ""), ("failed", "step_failed")}),
    "download": frozenset({("failed", "step_failed")}),
    "huge": frozenset({("succeeded", "")}),
    "loop": frozenset({("timed_out", "timed_out")}),
}


@dataclass(frozen=True)
class Visit:
    """One task. `key` is its Idempotency-Key and the end of the address that it goes to."""

    key: str
    kind: str
    is_idempotent: bool
    steps: tuple[Mapping[str, Any], ...]
    timeout_s: float

    def body(self) -> dict[str, Any]:
        """The request's body."""
        return {
            "kind": "browser.run",
            "steps": [dict(step) for step in self.steps],
            "allow": ["127.0.0.1"],
            "idempotent": self.is_idempotent,
            "timeout_s": self.timeout_s,
        }


def make_visit(seed: int, number: int, site: str) -> Visit:
    """The visit of this number: always the same for the same seed."""
    chance = random.Random(f"{seed}.{number}")
    kind = chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    key = f"visit-{seed}-{number:05d}"
    steps, timeout_s = _steps(kind, f"{site}/{{}}/{key}", chance)
    return Visit(key, kind, chance.random() < 0.25, tuple(steps), timeout_s)


def _steps(kind: str, page: str, chance: random.Random) -> tuple[list[dict[str, Any]], float]:
    def goto(name: str, **more: Any) -> dict[str, Any]:
        return {"action": "goto", "url": page.format(name), **more}

    text: dict[str, Any] = {"action": "text", "selector": "#p", "timeout_s": 5}
    shot: dict[str, Any] = {"action": "screenshot", "timeout_s": 5}
    match kind:
        case "look":
            return [goto("home"), text, shot], 30
        case "absent":
            return [goto("home"), {"action": "click", "selector": "#absent", "timeout_s": 0.3}], 30
        case "linger":
            wait = {"action": "wait_for", "milliseconds": chance.randint(200, 1200)}
            return [goto("home"), wait, text], 30
        case "greedy":
            return [goto("greedy", timeout_s=25)], 30
        case "endless":
            return [goto("endless", timeout_s=1)], 30
        case "dialogs" | "staying":
            return [goto(kind), text, goto("home")], 30
        case "refresh":
            return [goto("refresh"), text, {**shot, "timeout_s": 2}], 30
        case "font":
            # The page's load waits for its font, and so does a picture.
            return [goto("font", wait_until="domcontentloaded"), text, {**shot, "timeout_s": 2}], 30
        case "download":
            click = {"action": "download", "url": page.format("download"), "timeout_s": 1}
            return [goto("home"), click], 30
        case "huge":
            return [goto("huge", timeout_s=25), {"action": "count", "selector": ".row"}, {**shot, "timeout_s": 15}], 60
        case "loop":
            forever = {"action": "evaluate", "expression": "() => { for (;;); }", "timeout_s": 20}
            return [goto("home"), forever], 1.5
        case _:
            raise AssertionError(kind)

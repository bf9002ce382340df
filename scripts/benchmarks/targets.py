"""What must hold, as ratios of figures of one run."""

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.benchmarks.figures import Figure, Round, figure
from scripts.benchmarks.subject import Unit


@dataclass(frozen=True)
class Target:
    """`name` over `floor` (or alone), held against `bound`: at most it, or at least it."""

    name: str
    floor: str | None
    bound: float
    at_most: bool
    # A latency is compared as floor over ours, a rate as ours over floor, where more is better.
    inverted: bool = False


@dataclass(frozen=True)
class Judged:
    """A target with what was seen."""

    target: Target
    seen: Figure
    holds: bool


TARGETS = (
    Target("console_echo", "console_floor", 1.5, at_most=True),
    Target("http_echo", "console_floor", 2.0, at_most=True),
    Target("box_sequential", "box_sequential_floor", 0.75, at_most=False, inverted=True),
    Target("box_8", "spawn_8", 0.7, at_most=False),
    Target("hub_cpu_1_box", None, 500, at_most=True),
    Target("hub_cpu_100_boxes", None, 500, at_most=True),
    Target("box_idle_cpu", None, 1.0, at_most=True),
    Target("box_rss", None, 120, at_most=True),
    Target("hub_rss_a_box_at_1000", None, 40, at_most=True),
)


# With --only browser.
BROWSER_TARGETS = (
    Target("browser_task", "bare_playwright", 1.25, at_most=True),
    Target("browser_memory_over_200_tasks", None, 1.05, at_most=True),
)


def judge(figures: Mapping[str, Figure]) -> list[Judged]:
    """Each target that this run has the figures for."""
    return [_judge(target, figures) for target in (*TARGETS, *BROWSER_TARGETS) if target.name in figures]


def _judge(target: Target, figures: Mapping[str, Figure]) -> Judged:
    ours = figures[target.name]
    seen = ours if target.floor is None else ratio(ours, figures[target.floor], inverted=target.inverted)
    return Judged(target, seen, seen.p50 <= target.bound if target.at_most else seen.p50 >= target.bound)


def ratio(ours: Figure, floor: Figure, *, inverted: bool = False) -> Figure:
    """Round by round, so that a slow moment of the machine is in both alike."""
    pairs = zip(ours.rounds, floor.rounds, strict=True)
    return figure(Unit.RATIO, [Round(low / mine if inverted else mine / low, None) for mine, low in pairs])

"""The arithmetic of a run: percentiles within a round, medians over the rounds, sums of figures round by round."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.benchmarks.subject import Unit


@dataclass(frozen=True)
class Round:
    """One subject's window: its median, and its 95th percentile where the window held more than one value."""

    p50: float
    p95: float | None


@dataclass(frozen=True)
class Figure:
    """What a run says about one subject; ``rounds`` keeps each round's median, in the order of the rounds.

    ``p50`` and ``p95`` are medians over the rounds of each round's own, so that one disturbed round moves neither.
    """

    unit: Unit
    p50: float
    p95: float | None
    low: float
    high: float
    rounds: tuple[float, ...]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that at least ``percent`` of the values do not exceed."""
    if not values:
        raise ValueError("a percentile of no values")
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile lies in (0, 100], not at {percent}")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def summarise(values: Sequence[float]) -> Round:
    """One window's values as a round."""
    return Round(statistics.median(values), percentile(values, 95) if len(values) > 1 else None)


def figure(unit: Unit, rounds: Sequence[Round]) -> Figure:
    """The rounds of one subject as its figure."""
    medians = tuple(each.p50 for each in rounds)
    tails = [each.p95 for each in rounds if each.p95 is not None]
    return Figure(
        unit=unit,
        p50=statistics.median(medians),
        p95=statistics.median(tails) if tails else None,
        low=min(medians),
        high=max(medians),
        rounds=medians,
    )


def weighted_sum(figures: Mapping[str, Figure], weights: Mapping[str, float]) -> Figure:
    """A figure made of others, added up within each round: a slow moment of the machine is in all parts alike.

    Raises ValueError where units differ, or the numbers of rounds do.
    """
    parts = [(figures[name], weight) for name, weight in weights.items()]
    units = {part.unit for part, _ in parts}
    if len(units) != 1:
        raise ValueError(f"cannot add figures in {', '.join(sorted(units))}")
    per_round = zip(*([value * weight for value in part.rounds] for part, weight in parts), strict=True)
    return figure(units.pop(), [Round(sum(values), None) for values in per_round])


def quickest(figures: Mapping[str, Figure], names: Sequence[str]) -> str:
    """Which of several rates is the highest, by its median over the whole run.

    A single method is chosen for all rounds: the best of each round would be a rate that no method has.
    """
    return max(names, key=lambda name: figures[name].p50)

"""What can be measured: a subject, started once, sampled in every round, stopped at the end."""

from enum import StrEnum
from typing import Protocol


class Unit(StrEnum):
    """What a subject's samples count."""

    MS = "ms"
    PER_S = "/s"
    US = "µs"
    MB = "MB"
    KB = "KB"
    PERCENT = "%"
    RATIO = "×"


class Subject(Protocol):
    """One thing to measure; the rounds of all subjects are interleaved, so between its windows it must be idle."""

    @property
    def name(self) -> str:
        """The key of its figure in the report; unique in a run."""

    @property
    def unit(self) -> Unit: ...

    def start(self) -> None:
        """Bring it up and warm it, so that the first window is like the last. Raises BenchError if it cannot."""

    def sample(self, window_s: float) -> list[float]:
        """Work for about ``window_s`` seconds; one value an operation for a latency, one value in all for a rate."""

    def stop(self) -> None:
        """End every process it started and remove every file it made; called after a failed ``start`` too."""

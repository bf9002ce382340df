"""Runs the subjects in interleaved rounds, so that whatever else the machine does falls on all of them alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from scripts.benchmarks.figures import Figure, Round, figure, summarise
from scripts.benchmarks.subject import Subject


def run(
    subjects: Sequence[Subject], *, rounds: int, window_s: float, progress: Callable[[str], None]
) -> dict[str, Figure]:
    """Each subject's figure, by name. Every subject is stopped, whatever happens; the last started first.

    The order turns by one place each round, so that no subject always follows the same other one.
    """
    samples: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
    if len(samples) != len(subjects):
        raise ValueError("two subjects have the same name")
    with ExitStack() as running:
        for subject in subjects:
            progress(f"start {subject.name}")
            running.callback(subject.stop)
            subject.start()
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            turn = number % len(subjects)
            for subject in (*subjects[turn:], *subjects[:turn]):
                samples[subject.name].append(summarise(subject.sample(window_s)))
    return {subject.name: figure(subject.unit, samples[subject.name]) for subject in subjects}

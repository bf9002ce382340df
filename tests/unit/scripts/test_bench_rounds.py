"""How the rounds of several subjects are run beside each other."""

import pytest

from scripts.benchmarks.errors import BenchError
from scripts.benchmarks.rounds import run
from scripts.benchmarks.subject import Unit


class Recorded:
    """A subject that does nothing but write down what is asked of it."""

    unit = Unit.MS

    def __init__(self, name: str, record: list[str], *, fails_in: str = "") -> None:
        self.name = name
        self._record = record
        self._fails_in = fails_in

    def start(self) -> None:
        self._did("start")

    def sample(self, window_s: float) -> list[float]:
        self._did("sample")
        return [window_s, 2 * window_s]

    def stop(self) -> None:
        self._did("stop")

    def _did(self, step: str) -> None:
        self._record.append(f"{step} {self.name}")
        if step == self._fails_in:
            raise BenchError(f"{self.name} failed", hint="none")


def _quiet(message: str) -> None:
    """Takes the progress, which these tests do not read."""


def test_rounds_are_interleaved_and_each_begins_with_another_subject() -> None:
    record: list[str] = []
    figures = run([Recorded(name, record) for name in "abc"], rounds=3, window_s=2.0, progress=_quiet)
    assert record[3:-3] == [f"sample {name}" for name in "abcbcacab"]
    assert list(figures) == ["a", "b", "c"]
    assert figures["b"].rounds == (3.0, 3.0, 3.0)
    assert figures["b"].p95 == 4.0


def test_subjects_are_stopped_in_reverse_order() -> None:
    record: list[str] = []
    run([Recorded(name, record) for name in "abc"], rounds=1, window_s=1.0, progress=_quiet)
    assert record[-3:] == ["stop c", "stop b", "stop a"]


@pytest.mark.parametrize("step", ["start", "sample"])
def test_a_subject_that_fails_leaves_none_running(step: str) -> None:
    record: list[str] = []
    subjects = [Recorded("a", record), Recorded("b", record, fails_in=step), Recorded("c", record)]
    with pytest.raises(BenchError, match="b failed"):
        run(subjects, rounds=1, window_s=1.0, progress=_quiet)
    started = [line.removeprefix("start ") for line in record if line.startswith("start ")]
    stopped = [line.removeprefix("stop ") for line in record if line.startswith("stop ")]
    assert stopped == started[::-1]


def test_a_stop_that_fails_does_not_keep_the_others_from_stopping() -> None:
    record: list[str] = []
    subjects = [Recorded("a", record), Recorded("b", record, fails_in="stop")]
    with pytest.raises(BenchError, match="b failed"):
        run(subjects, rounds=1, window_s=1.0, progress=_quiet)
    assert record[-2:] == ["stop b", "stop a"]


def test_two_subjects_of_one_name_are_refused_before_anything_starts() -> None:
    record: list[str] = []
    with pytest.raises(ValueError, match="the same name"):
        run([Recorded("a", record), Recorded("a", record)], rounds=1, window_s=1.0, progress=_quiet)
    assert record == []

"""The arithmetic of a benchmark's run."""

import pytest
from hypothesis import given, strategies as st

from scripts.benchmarks.figures import Figure, Round, figure, percentile, quickest, summarise, weighted_sum
from scripts.benchmarks.subject import Unit

VALUES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=50)


def _figure(*medians: float, unit: Unit = Unit.MS) -> Figure:
    return figure(unit, [Round(value, None) for value in medians])


def test_percentiles_of_the_first_hundred_numbers_are_those_numbers() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]


@given(VALUES, st.integers(min_value=1, max_value=100))
def test_a_percentile_is_the_least_value_that_enough_values_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_that_does_not_exist_is_an_error(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_a_window_of_one_value_has_no_tail() -> None:
    assert summarise([7.0]) == Round(7.0, None)
    assert summarise([1.0, 2.0, 3.0, 4.0]) == Round(2.5, 4.0)


def test_one_disturbed_round_moves_neither_the_median_nor_the_tail() -> None:
    calm, disturbed = Round(1.0, 2.0), Round(50.0, 900.0)
    found = figure(Unit.MS, [calm, calm, disturbed, calm, calm])
    assert (found.p50, found.p95, found.low, found.high) == (1.0, 2.0, 1.0, 50.0)
    assert found.rounds == (1.0, 1.0, 50.0, 1.0, 1.0)


def test_a_sum_is_made_round_by_round_and_not_of_the_medians() -> None:
    figures = {"spawn": _figure(1.0, 2.0, 9.0), "commit": _figure(3.0, 1.0, 2.0)}
    found = weighted_sum(figures, {"spawn": 1, "commit": 4})
    assert found.rounds == (13.0, 6.0, 17.0)
    assert (found.p50, found.p95) == (13.0, None)


def test_figures_in_different_units_are_not_added() -> None:
    figures = {"latency": _figure(1.0), "rate": _figure(1.0, unit=Unit.PER_S)}
    with pytest.raises(ValueError, match="cannot add figures in /s, ms"):
        weighted_sum(figures, {"latency": 1, "rate": 1})


def test_figures_of_different_runs_are_not_added() -> None:
    with pytest.raises(ValueError, match="shorter"):
        weighted_sum({"one": _figure(1.0, 2.0), "other": _figure(1.0)}, {"one": 1, "other": 1})


def test_the_quickest_rate_is_that_of_one_method_over_the_whole_run() -> None:
    figures = {"steady": _figure(5.0, 5.0, 5.0), "lucky_once": _figure(1.0, 1.0, 99.0)}
    assert quickest(figures, ["lucky_once", "steady"]) == "steady"

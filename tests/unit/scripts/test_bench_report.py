"""What a benchmark's run leaves to read, for a person and for a program."""

import json
from dataclasses import replace

from scripts.benchmarks.figures import Round, figure
from scripts.benchmarks.report import Moment, Report, as_json, as_markdown
from scripts.benchmarks.subject import Unit

REPORT = Report(
    form="short",
    rounds=3,
    window_s=0.5,
    python="3.11.7",
    sqlite="3.53.4",
    kernel="6.1.0",
    cpus=2,
    filesystem="ext4",
    start=Moment(load_1min=0.25, calibration_spawn_ms=1.5),
    end=Moment(load_1min=1.75, calibration_spawn_ms=1.625),
    measured={
        "commit": figure(Unit.MS, [Round(0.25, 0.5), Round(0.375, 0.75), Round(1.0, 9.0)]),
        "spawn_8_loop": figure(Unit.PER_S, [Round(1700.4, None), Round(1650.0, None), Round(1800.0, None)]),
    },
    derived={"console_floor": figure(Unit.MS, [Round(1.5, None)])},
)


def test_the_json_holds_every_round_so_that_ratios_can_be_made_of_it() -> None:
    document = json.loads(as_json(REPORT))
    assert document["measured"]["commit"] == {
        "unit": "ms",
        "p50": 0.375,
        "p95": 0.75,
        "low": 0.25,
        "high": 1.0,
        "rounds": [0.25, 0.375, 1.0],
    }
    assert document["derived"]["console_floor"]["p95"] is None
    assert document["end"] == {"load_1min": 1.75, "calibration_spawn_ms": 1.625}
    assert document["filesystem"] == "ext4"


def test_the_table_has_a_row_a_figure_and_marks_what_is_derived() -> None:
    rows = [line for line in as_markdown(REPORT).splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| commit | ms | 0.375 | 0.750 | 0.250 | 1.000 |",
        "| spawn_8_loop | /s | 1700 | – | 1650 | 1800 |",
        "| = console_floor | ms | 1.500 | – | 1.500 | 1.500 |",
    ]
    assert len({row.count("|") for row in rows}) == 1


def test_the_table_says_how_loaded_and_how_quick_the_machine_was_at_both_ends() -> None:
    text = as_markdown(REPORT)
    assert "At the start: load 0.25, a spawn 1.500 ms." in text
    assert "At the end: load 1.75, a spawn 1.625 ms." in text


def test_a_run_with_nothing_derived_has_a_table_all_the_same() -> None:
    assert "= " not in as_markdown(replace(REPORT, derived={}))

"""What a run leaves behind: one JSON document, and the same as a table to read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scripts.benchmarks.figures import Figure


@dataclass(frozen=True)
class Moment:
    """The machine's state at one end of the run; figures of two runs compare only where these are alike."""

    load_1min: float
    calibration_spawn_ms: float


@dataclass(frozen=True)
class Report:
    """One whole run. ``form`` is ``short`` or ``long``; ``derived`` figures are made of the measured ones."""

    form: str
    rounds: int
    window_s: float
    python: str
    sqlite: str
    kernel: str
    cpus: int
    filesystem: str
    start: Moment
    end: Moment
    measured: Mapping[str, Figure]
    derived: Mapping[str, Figure]


def as_json(report: Report) -> str:
    """The report as one JSON document, indented, with a newline at its end."""
    document: dict[str, Any] = asdict(report)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_markdown(report: Report) -> str:
    """The report as a table in Markdown, under the lines that say where it was measured."""
    lines = [
        f"{report.form} form, {report.rounds} rounds of {report.window_s:g} s each; {report.cpus} CPUs.",
        f"{report.filesystem}, Linux {report.kernel}, Python {report.python}, SQLite {report.sqlite}.",
        _moment("start", report.start),
        _moment("end", report.end),
        "",
        "| what | unit | p50 | p95 | lowest round | highest round |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [_row(name, figure) for name, figure in report.measured.items()]
    lines += [_row(f"= {name}", figure) for name, figure in report.derived.items()]
    return "\n".join(lines) + "\n"


def _moment(name: str, moment: Moment) -> str:
    return f"At the {name}: load {moment.load_1min:.2f}, a spawn {moment.calibration_spawn_ms:.3f} ms."


def _row(name: str, figure: Figure) -> str:
    numbers = (figure.p50, figure.p95, figure.low, figure.high)
    return f"| {name} | {figure.unit} | {' | '.join(_number(value) for value in numbers)} |"


def _number(value: float | None) -> str:
    """Three decimals for what is small, none for what is large: about as many digits as repeat from run to run."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"

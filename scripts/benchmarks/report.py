"""What a run leaves behind: one JSON document, and the same as a table to read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.benchmarks.figures import Figure
from scripts.benchmarks.targets import Judged


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
    judged: Sequence[Judged] = ()


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
    if report.judged:
        lines += ["", "| must hold | bound | seen | lowest round | highest round | holds |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
        lines += [_verdict(each) for each in report.judged]
    return "\n".join(lines) + "\n"


def _moment(name: str, moment: Moment) -> str:
    return f"At the {name}: load {moment.load_1min:.2f}, a spawn {moment.calibration_spawn_ms:.3f} ms."


def _row(name: str, figure: Figure) -> str:
    numbers = (figure.p50, figure.p95, figure.low, figure.high)
    return f"| {name} | {figure.unit} | {' | '.join(_number(value) for value in numbers)} |"


def _verdict(judged: Judged) -> str:
    target, seen = judged.target, judged.seen
    what = target.name if target.floor is None else f"{target.name} : {target.floor}"
    if target.inverted:
        what = f"{target.floor} : {target.name}"
    bound = f"{'≤' if target.at_most else '≥'} {target.bound:g} {seen.unit}"
    numbers = " | ".join(_number(value) for value in (seen.p50, seen.low, seen.high))
    return f"| {what} | {bound} | {numbers} | {'yes' if judged.holds else 'NO'} |"


def _number(value: float | None) -> str:
    """Three decimals for what is small, none for what is large: about as many digits as repeat from run to run."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"

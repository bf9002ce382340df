"""The command behind `scripts/bench`: measures, prints the table, writes the JSON."""

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3

from scripts.benchmarks.browsers import browsers, in_a_row
from scripts.benchmarks.disk import Mount, require_disk
from scripts.benchmarks.errors import BenchError
from scripts.benchmarks.figures import Figure
from scripts.benchmarks.floors import derive, floors
from scripts.benchmarks.idle import idle
from scripts.benchmarks.ours import ours
from scripts.benchmarks.page import PageServer
from scripts.benchmarks.report import Moment, Report, as_json, as_markdown
from scripts.benchmarks.rounds import run
from scripts.benchmarks.spawn import calibrate
from scripts.benchmarks.targets import judge
from scripts.benchmarks.worker import CHECKOUT

DEFAULT_FOLDER = CHECKOUT / ".run" / "bench"


@dataclass(frozen=True)
class Form:
    """How long a run takes: each subject works for one window in each round."""

    name: str
    rounds: int
    window_s: float
    idle_s: float


# Five rounds are the fewest whose median a single disturbed one cannot move far.
SHORT = Form("short", rounds=5, window_s=0.3, idle_s=3.0)
LONG = Form("long", rounds=9, window_s=1.5, idle_s=20.0)


def main(arguments: list[str]) -> int:
    """Exit status: 0; 2 where nothing could be measured; 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    try:
        if options.json is not None:
            _require_writable(options.json)
        measure = _measure_browser if options.only == "browser" else _measure
        report = measure(options.folder, SHORT if options.short else LONG)
    except BenchError as error:
        print(f"bench: {error}\nhint: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted before there were figures", file=sys.stderr)
        return 130
    print(as_markdown(report), end="")
    if options.json is not None:
        options.json.write_text(as_json(report))
    return 0


def _measure(folder: Path, form: Form) -> Report:
    mount = require_disk(folder)
    start = _moment()
    subjects = floors(folder) + ours(folder)
    measured = run(subjects, rounds=form.rounds, window_s=form.window_s, progress=_progress)
    derived = derive(measured)
    _progress("idle")
    measured |= idle(folder / "idle", window_s=form.idle_s)
    return _report(form, mount, start, measured, derived)


def _measure_browser(folder: Path, form: Form) -> Report:
    mount = require_disk(folder)
    start = _moment()
    page = PageServer()
    try:
        subjects = browsers(folder, page)
        measured = run(subjects, rounds=form.rounds, window_s=form.window_s, progress=_progress)
        _progress("tasks in a row")
        measured |= in_a_row(folder, page)
    finally:
        page.close()
    return _report(form, mount, start, measured, {})


def _report(form: Form, mount: Mount, start: Moment, measured: dict[str, Figure], derived: dict[str, Figure]) -> Report:
    return Report(
        form=form.name,
        rounds=form.rounds,
        window_s=form.window_s,
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        kernel=platform.release(),
        cpus=len(os.sched_getaffinity(0)),
        filesystem=mount.filesystem,
        start=start,
        end=_moment(),
        measured=measured,
        derived=derived,
        judged=judge(measured | derived),
    )


def _require_writable(file: Path) -> None:
    """Before the minutes of measuring, not after them."""
    try:
        with file.open("a"):
            pass
    except OSError as error:
        raise BenchError(
            f"cannot write the JSON to {file}: {error.strerror}",
            hint="name a file that you can write to with --json FILE",
        ) from error


def _moment() -> Moment:
    return Moment(load_1min=os.getloadavg()[0], calibration_spawn_ms=calibrate())


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Operis beside the bare floors, on a real disk, in interleaved rounds.",
    )
    parser.add_argument("--short", action="store_true", help="at most a minute, for CI; without it, over one")
    parser.add_argument(
        "--only", choices=["browser"], help="measure browser tasks beside bare Playwright, nothing else"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as JSON too")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=DEFAULT_FOLDER,
        help="where to commit: a real disk, not tmpfs or overlay (default: .run/bench in the checkout)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

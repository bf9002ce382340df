"""The command behind `scripts/fault`: kills at random, judges, prints the figures, writes the JSON."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.faults import browsing
from scripts.faults.campaign import run
from scripts.faults.report import as_json, as_text
from tests.system.plant import Plant
from tests.system.program import ROOT


def main(arguments: list[str]) -> int:
    """Exit status: 0; 1 where a promise was broken; 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    base = ROOT / ".run" / "faults"
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{seed}-", dir=base))
    plant = Plant(folder)
    is_clean = False

    def progress(text: str) -> None:
        print(text, flush=True)

    try:
        if options.browser:
            visits = browsing.run(plant, seed=seed, tasks=options.browser, progress=progress)
            is_clean = not visits.breaches
            text, figures = visits.as_text(), visits.as_json()
        else:
            result = run(plant, seed=seed, kills=options.kills, progress=progress)
            is_clean = not result.breaches and not result.refusals
            text, figures = as_text(result), as_json(result)
    except KeyboardInterrupt:
        print("interrupted before there was a judgement", file=sys.stderr)
        return 130
    finally:
        plant.close()
        if is_clean:
            shutil.rmtree(folder)
        else:
            print(f"kept for a look: {folder}", file=sys.stderr)
    print(text, end="")
    if options.json is not None:
        options.json.write_text(figures)
    return 0 if is_clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fault",
        description="Kill hub, box and spawner at random under load, and see that nothing is lost.",
    )
    parser.add_argument("--kills", type=int, default=120, metavar="N", help="how often (120)")
    parser.add_argument(
        "--browser", type=int, metavar="N", help="run N browser tasks on hostile pages, and kill what they run in"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same tasks and victims as a run before (random)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

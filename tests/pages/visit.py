"""What is done on one page that was not written for it: a file of steps, and how far it shows that anything changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from cloudsync.spec import SPEC, BrowserRun
from cloudsync.step.act import Dialog
from cloudsync.step.check import Expect
from cloudsync.steps import GROUPS, Step
from cloudsync.steps_file import read_steps

FOLDER: Final = Path(__file__).parent
LOOPBACK: Final = "127.0.0.1"
# What only answers to something that is done later is done by no hand.
INTERACTIONS: Final = tuple(kind for kind in GROUPS["Act"] if kind is not Dialog)


@dataclass(frozen=True)
class Visit:
    """One page of a package and its file of steps."""

    package: str
    """The folder of its file, which the list of packages names."""
    page: str

    def __str__(self) -> str:
        return f"{self.package}/{self.page}"

    def task(self, site: str) -> dict[str, Any]:
        """The body of its task, with the package served at an address: `url: /page` is meant to lie there."""
        fields = read_steps((FOLDER / self.package / f"{self.page}.yaml").read_text(encoding="utf-8"))
        steps = [dict(step) for step in fields.pop("steps")]
        for step in steps:
            if str(step.get("url", "")).startswith("/"):
                step["url"] = site + step["url"]
        return {"kind": "browser.run", "allow": [LOOPBACK], "steps": steps, **fields}

    def steps(self) -> tuple[Step, ...]:
        """Its steps; pydantic's ValidationError where they are wrong."""
        spec = SPEC.validate_python(self.task(f"http://{LOOPBACK}"))
        assert isinstance(spec, BrowserRun)
        return spec.steps


def all_visits() -> list[Visit]:
    """Every page that there is a file for."""
    return [Visit(path.parent.name, path.stem) for path in sorted(FOLDER.glob("*/*.yaml"))]


def interactions(steps: tuple[Step, ...]) -> list[int]:
    """Where something is done to the page by hand, from 0 on."""
    return [index for index, step in enumerate(steps) if isinstance(step, INTERACTIONS)]


def changes(steps: tuple[Step, ...]) -> list[tuple[int, int]]:
    """Pairs of places where the same thing of the same element is expected to be another after something was done."""
    return [
        (first, second)
        for (first, before), (second, after) in combinations(list(_expected(steps)), 2)
        if any(before[key] != after[key] for key in before.keys() & after.keys())
        and any(first < index < second for index in interactions(steps))
    ]


def _expected(steps: tuple[Step, ...]) -> Iterator[tuple[int, dict[tuple[str, str], object]]]:
    """Each `expect`: its place, and what it says of which element."""
    for index, step in enumerate(steps):
        if isinstance(step, Expect):
            said = {"hidden" if name == "visible" else name: getattr(step, name) for name in step.model_fields_set}
            if "visible" in step.model_fields_set:
                said["hidden"] = not step.visible
            where = repr((step.frame, step.selector))
            told = ("text", "value", "count", "hidden", "url", "title")
            yield index, {(where, name): said[name] for name in told if name in said}

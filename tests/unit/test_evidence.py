"""`docs/evidence.md` names, for each thing that must hold, tests that exist."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^## (?P<issue>.+): H1 to H(?P<last>\d+)$")
ROW = re.compile(r"^\| (?P<promise>H\d+)\b")
TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>[\w:]+)`")


@dataclass(frozen=True)
class Promise:
    """One thing that an issue says must hold, with the cells of its row, empty where it has none."""

    issue: str
    name: str
    cells: tuple[str, ...] = ()

    @property
    def tests(self) -> list[tuple[str, str]]:
        """File and name of each test that the row names."""
        return [(found["file"], found["name"]) for cell in self.cells[3:] for found in TEST.finditer(cell)]


def read_promises(text: str) -> list[Promise]:
    """Every promise that a heading announces, in order, whether or not its row is there."""
    promises: dict[tuple[str, str], Promise] = {}
    issue = ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            issue = heading["issue"]
            names = [f"H{number}" for number in range(1, int(heading["last"]) + 1)]
            promises |= {(issue, name): Promise(issue, name) for name in names}
        elif row := ROW.match(line):
            cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
            promises[issue, row["promise"]] = Promise(issue, row["promise"], cells)
    return list(promises.values())


@cache
def defined_tests(file: Path) -> frozenset[str]:
    """Names of the tests that a file defines, those of a class as `TestThing::test_does`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=owner, body=body):
                functions = (each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
                names.update(f"{owner}::{each.name}" for each in functions)
            case _:
                pass
    return frozenset(name for name in names if name.rpartition("::")[2].startswith("test_"))


PROMISES = read_promises((ROOT / "docs" / "evidence.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.issue} {promise.name}")
def test_each_promise_has_a_row_that_names_a_test(promise: Promise) -> None:
    assert promise.cells, f"docs/evidence.md has no row for {promise.name} of “{promise.issue}”: add it"
    assert len(promise.cells) == 4, f"the row of {promise.name} has {len(promise.cells)} cells, not 4"
    assert all(promise.cells), f"the row of {promise.name} has an empty cell: an unmeasured figure is said to be so"
    assert promise.tests, f"the row of {promise.name} names no test: write it as `tests/….py::test_name`"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.issue} {promise.name}")
def test_each_test_named_as_evidence_exists(promise: Promise) -> None:
    missing = [
        f"{file}::{name}"
        for file, name in promise.tests
        if not (ROOT / file).is_file() or name not in defined_tests(ROOT / file)
    ]
    assert not missing


def test_a_promise_without_a_row_and_a_test_that_is_gone_are_seen() -> None:
    row = "| H2 it works | `x` | 1 | `tests/unit/test_evidence.py::test_gone` `tests/none.py::test_x` |"
    first, second = read_promises(f"## Later: H1 to H2\n{row}\n")
    assert (first.name, first.cells) == ("H1", ())
    assert second.tests == [("tests/unit/test_evidence.py", "test_gone"), ("tests/none.py", "test_x")]
    assert "test_gone" not in defined_tests(Path(__file__))

"""The page of steps in docs is that of the steps in the program."""

import re
import subprocess
import sys
from pathlib import Path

from cloudsync.spec import BrowserRun
from cloudsync.steps import ACTIONS, fields_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "steps.md"


def write(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "steps.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_is_up_to_date() -> None:
    checked = write("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_stale_or_missing_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    assert write("--check", "--file", str(path)).returncode == 1
    assert write("--file", str(path)).returncode == 0
    assert path.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    stale = write("--check", "--file", str(path))
    assert (stale.returncode, stale.stderr) == (1, "not as the steps say: page.md; run scripts/steps\n")


def test_each_step_is_there_with_its_fields_and_what_they_mean() -> None:
    page = PAGE.read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:]}
    common = set(re.findall(r"^\| `(\w+)` \|", page.split("## Go")[0], flags=re.MULTILINE))
    for action, kind in ACTIONS.items():
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", sections[action], flags=re.MULTILINE)
        assert {name for name, _, _ in rows} | common >= set(fields_of(kind)), action
        assert kind.__doc__
        assert " ".join(kind.__doc__.split()) in sections[action]
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) >= set(BrowserRun.model_fields) - {"kind"}


def test_no_field_is_without_a_word() -> None:
    rows = re.findall(r"^\| `.*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) > 120
    assert [row for row in rows if not re.fullmatch(r"\| `\w+` \| .+ \| .+\. \|", row)] == []

"""The diagrams in docs are those of the tables that the program runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloudsync.log import RECEIVER, SENDER
from cloudsync.session import BOX, HUB
from cloudsync.task import TRANSITIONS

ROOT = Path(__file__).parents[2]
ARROW = re.compile(r"^    (\w+) --> (\w+): (.+)$", re.MULTILINE)
PAGES = ("box-session", "hub-session", "receiver", "sender", "task")


def draw(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "diagrams.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def arrows(page: str) -> set[tuple[str, str, str]]:
    text = (ROOT / "docs" / "diagrams" / f"{page}.md").read_text(encoding="utf-8")
    return {(here, there, label) for here, there, labels in ARROW.findall(text) for label in labels.split(", ")}


def test_the_diagrams_are_up_to_date() -> None:
    checked = draw("--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert sorted(path.stem for path in (ROOT / "docs" / "diagrams").iterdir()) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_stale_missing_or_left_over_page_is_named(page: str, tmp_path: Path) -> None:
    assert draw("--folder", str(tmp_path)).returncode == 0
    path = tmp_path / f"{page}.md"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    stale = draw("--check", "--folder", str(tmp_path))
    assert (stale.returncode, stale.stderr) == (1, f"not as the tables say: {page}.md; run scripts/diagrams\n")
    path.rename(tmp_path / "old.md")
    assert f"{page}.md" in draw("--check", "--folder", str(tmp_path)).stderr
    assert "old.md" in draw("--check", "--folder", str(tmp_path)).stderr
    draw("--folder", str(tmp_path))
    assert draw("--check", "--folder", str(tmp_path)).returncode == 0


def test_each_transition_is_drawn() -> None:
    assert arrows("box-session") == {(state, to, happened) for (state, happened), to in BOX.items()}
    assert arrows("hub-session") == {(state, to, happened) for (state, happened), to in HUB.items()}
    assert arrows("sender") == {(state, to, what) for (state, what), targets in SENDER.items() for to in targets}
    assert arrows("receiver") == {(state, to, what) for (state, what), targets in RECEIVER.items() for to in targets}
    moves = {(state, to) for (state, _), movers in TRANSITIONS.items() for targets in movers.values() for to in targets}
    assert {(here, there) for here, there, _ in arrows("task")} == moves

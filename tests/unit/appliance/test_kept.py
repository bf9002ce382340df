"""Whole output that outlives its task, within a budget."""

import os
import time
from pathlib import Path

import pytest

from appliance.kept import KeptSpools, discard

KIB = 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "kept"
    root.mkdir()
    return root


def attempt(tmp_path: Path, name: str, size: int, age_s: float = 0.0) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "stdout").write_bytes(b"x" * size)
    when = time.time() - age_s
    os.utime(folder, (when, when))
    return folder


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path, root: Path) -> None:
    spools = KeptSpools(root, 100 * KIB, 7)
    for number in range(6):
        spools.keep(attempt(tmp_path, f"t{number}.1", 40 * KIB, age_s=100 - number))
    assert sorted(folder.name for folder in root.iterdir()) == ["t4.1", "t5.1"]
    assert not list(tmp_path.glob("t*"))


def test_what_is_too_old_goes(tmp_path: Path, root: Path) -> None:
    spools = KeptSpools(root, 100 * KIB, 7)
    spools.keep(attempt(tmp_path, "old.1", KIB, age_s=8 * 86400))
    spools.keep(attempt(tmp_path, "new.1", KIB, age_s=6 * 86400))
    assert [folder.name for folder in root.iterdir()] == ["new.1"]


def test_with_no_budget_nothing_is_kept(tmp_path: Path, root: Path) -> None:
    KeptSpools(root, 0, 7).keep(attempt(tmp_path, "t.1", KIB))
    assert list(root.iterdir()) == []


def test_a_folder_goes_with_whatever_its_task_put_there(tmp_path: Path) -> None:
    folder = attempt(tmp_path, "t.1", KIB)
    discard(folder)
    assert not folder.exists()
    discard(folder)
    folder = attempt(tmp_path, "t.2", KIB)
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    discard(folder)
    assert not folder.exists()

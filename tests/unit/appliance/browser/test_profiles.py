"""Profiles on a real disk: what a task begins with, and what a cut at any point leaves."""

import json
from pathlib import Path

import pytest

from appliance.browser.profiles import PREVIOUS, STATE, Profiles


def state(who: str) -> bytes:
    return json.dumps({"cookies": [{"name": "who", "value": who}], "origins": []}).encode()


def saved(profiles: Profiles, tmp_path: Path, who: str, *, succeeded: bool = True) -> None:
    left = tmp_path / "left.json"
    left.write_bytes(state(who))
    profiles.draft("shop", f"task-{who}", tmp_path, left)
    profiles.settle("shop", f"task-{who}", succeeded=succeeded)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "profiles"
    root.mkdir()
    return root


def test_one_that_was_never_saved_is_empty(root: Path) -> None:
    loaded = Profiles(root).load("shop")
    assert (loaded.state, loaded.note) == (None, "")


def test_the_last_good_state_is_loaded_and_the_one_before_kept(root: Path, tmp_path: Path) -> None:
    profiles = Profiles(root)
    for who in ("ann", "bob", "eve"):
        saved(profiles, tmp_path, who)
    assert profiles.load("shop").state == state("eve")
    assert (root / "shop" / PREVIOUS).read_bytes() == state("bob")
    assert {path.name for path in (root / "shop").iterdir()} == {STATE, PREVIOUS}
    assert (root / "shop" / STATE).stat().st_mode & 0o077 == 0


def test_a_task_that_did_not_succeed_changes_nothing(root: Path, tmp_path: Path) -> None:
    profiles = Profiles(root)
    saved(profiles, tmp_path, "ann")
    saved(profiles, tmp_path, "bob", succeeded=False)
    assert profiles.load("shop").state == state("ann")
    assert {path.name for path in (root / "shop").iterdir()} == {STATE}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"cookies": 1, "origins": []}', b"\xff\xfe"])
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(root: Path, tmp_path: Path, damage: bytes) -> None:
    profiles = Profiles(root)
    saved(profiles, tmp_path, "ann")
    saved(profiles, tmp_path, "bob")
    (root / "shop" / STATE).write_bytes(damage)
    loaded = profiles.load("shop")
    assert loaded.state == state("ann")
    assert "state.json is damaged" in loaded.note
    (root / "shop" / PREVIOUS).write_bytes(damage)
    loaded = profiles.load("shop")
    assert loaded.state is None
    assert "an empty one was used" in loaded.note


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_draft_that_a_cut_left_is_settled_by_the_journals_word(root: Path, tmp_path: Path, succeeded: bool) -> None:
    profiles = Profiles(root)
    saved(profiles, tmp_path, "ann")
    left = tmp_path / "left.json"
    left.write_bytes(state("bob"))
    profiles.draft("shop", "task.1:a", tmp_path, left)
    Profiles(root).sweep(lambda task_id: succeeded and task_id == "task.1:a")
    assert profiles.load("shop").state == state("bob" if succeeded else "ann")


def test_a_cut_between_the_two_renames_loses_nothing(root: Path, tmp_path: Path) -> None:
    profiles = Profiles(root)
    saved(profiles, tmp_path, "ann")
    left = tmp_path / "left.json"
    left.write_bytes(state("bob"))
    profiles.draft("shop", "t", tmp_path, left)
    (root / "shop" / STATE).rename(root / "shop" / PREVIOUS)
    assert profiles.load("shop").state == state("ann")
    Profiles(root).sweep(lambda _: True)
    assert profiles.load("shop").state == state("bob")
    assert (root / "shop" / PREVIOUS).read_bytes() == state("ann")


def test_what_is_no_state_or_lies_behind_a_link_is_not_saved(root: Path, tmp_path: Path) -> None:
    profiles = Profiles(root)
    saved(profiles, tmp_path, "ann")
    left = tmp_path / "other.json"
    left.write_text("hello")
    with pytest.raises(ValueError, match="no storage state"):
        profiles.draft("shop", "t", tmp_path, left)
    left.unlink()
    left.symlink_to(root / "shop" / STATE)
    with pytest.raises(OSError, match="symbolic"):
        profiles.draft("shop", "t", tmp_path, left)


@pytest.mark.parametrize("left", ["elsewhere.json", "attempt/way/elsewhere.json", "attempt/../elsewhere.json"])
def test_a_state_that_lies_outside_the_attempts_folder_is_not_saved(root: Path, tmp_path: Path, left: str) -> None:
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    (attempt / "way").symlink_to(tmp_path)
    (tmp_path / "elsewhere.json").write_bytes(state("root"))
    profiles = Profiles(root)
    with pytest.raises(OSError):  # noqa: PT011
        profiles.draft("shop", "t", attempt, tmp_path / left)
    assert list(root.iterdir()) == []

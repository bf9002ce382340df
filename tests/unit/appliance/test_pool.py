"""Folders of attempts that are over: when they may be used again, and which are not."""

import asyncio
from pathlib import Path

import pytest

from appliance.pool import LIMIT_BYTES, LIMIT_FOLDERS, PAUSE_S, FolderPool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder


def attempt(root: Path, key: str, output: bytes = b"test\n") -> Path:
    folder = root.parent / key
    folder.mkdir()
    (folder / "stdout").write_bytes(output)
    (folder / "stderr").write_bytes(b"")
    return folder


async def taken_in() -> None:
    await asyncio.sleep(2 * PAUSE_S)


@pytest.mark.parametrize("gone_first", [True, False])
async def test_folder_is_free_once_it_is_settled_and_nothing_of_it_lives(root: Path, gone_first: bool) -> None:
    pool = FolderPool(root)
    folder = attempt(root, "t.1")
    for turn, is_gone in enumerate((gone_first, not gone_first)):
        if is_gone:
            pool.gone("t.1")
        else:
            pool.settle("t.1", folder, 10)
        if turn == 0:
            await taken_in()
            assert pool.take() is None
            assert folder.exists()
    await taken_in()
    assert not folder.exists()
    assert pool.take() == root / "t.1"
    assert pool.take() is None


async def test_folder_whose_spawner_was_lost_is_the_callers(root: Path) -> None:
    pool = FolderPool(root)
    folder = attempt(root, "t.1")
    pool.settle("t.1", folder, 10)
    pool.gone("t.2")
    assert pool.clear() == {"t.1": folder}
    pool.gone("t.1")
    pool.settle("t.2", attempt(root, "t.2"), 10)
    await taken_in()
    assert pool.take() is None


async def test_folder_with_large_output_or_without_any_is_removed(root: Path) -> None:
    pool = FolderPool(root)
    large = attempt(root, "t.1", b"x" * (LIMIT_BYTES + 1))
    never_ran = root.parent / "t.2"
    never_ran.mkdir()
    for folder, written_bytes in ((large, LIMIT_BYTES + 1), (never_ran, None)):
        pool.settle(folder.name, folder, written_bytes)
        pool.gone(folder.name)
    await taken_in()
    assert pool.take() is None
    assert not large.exists()
    assert not never_ran.exists()


async def test_what_stays_elsewhere_is_not_touched(root: Path) -> None:
    pool = FolderPool(root)
    pool.settle("t.1", None, 10)
    pool.gone("t.1")
    await taken_in()
    assert pool.take() is None


async def test_no_more_are_kept_than_a_busy_box_needs(root: Path) -> None:
    pool = FolderPool(root)
    for number in range(LIMIT_FOLDERS + 3):
        folder = attempt(root, f"t.{number}")
        pool.settle(folder.name, folder, 10)
        pool.gone(folder.name)
    await taken_in()
    assert len(list(root.iterdir())) == LIMIT_FOLDERS
    assert not [each for each in root.parent.iterdir() if each != root]


def test_folders_of_the_last_daemon_are_used_again(root: Path) -> None:
    (root / "t.1").mkdir()
    (root / "a file").touch()
    assert FolderPool(root).take() == root / "t.1"

"""The data folder: who may use it, and what is written into it."""

import errno
import os
import resource
from pathlib import Path

import pytest

from appliance.errors import FolderBusy, FolderNewer, FolderUnusable
from appliance.folder import (
    FORMAT,
    DataFolder,
    attempt_key,
    discard,
    free_bytes,
    open_within,
    remove_tree,
    unusable,
    write_durably,
)


def test_it_is_made_private_with_all_that_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "box"
    folder = DataFolder.open(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "format").read_text() == f"{FORMAT}\n"
    assert folder.attempts.is_dir()
    assert folder.attempt("t", 2) == folder.attempts / attempt_key("t", 2) == folder.attempts / "t.2"
    folder.close()
    path.chmod(0o755)
    DataFolder.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_peoples_files_is_not_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("")
    tmp_path.chmod(0o755)
    DataFolder.open(tmp_path).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_it_is_held_by_one_and_let_go_by_close(tmp_path: Path) -> None:
    first = DataFolder.open(tmp_path)
    with pytest.raises(FolderBusy, match=f"process {os.getpid()}") as caught:
        DataFolder.open(tmp_path)
    assert "operis-box status" in caught.value.hint
    first.close()
    DataFolder.open(tmp_path).close()


def test_one_of_a_newer_version_is_refused_and_not_held(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    (tmp_path / "format").write_text(f"{FORMAT + 1}\n")
    for _ in range(2):
        with pytest.raises(FolderNewer, match=f"format {FORMAT + 1}"):
            DataFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["", "one", "-1"])
def test_a_damaged_mark_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)
    with pytest.raises(FolderUnusable, match="is damaged"):
        DataFolder.open(tmp_path)


def test_a_write_that_comes_to_only_a_part_is_said_and_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_durably(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            write_durably(path, bytes(100 * 1024))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_the_folder_of_a_hub_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("")
    with pytest.raises(FolderUnusable, match="the data folder of a hub"):
        DataFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOTDIR, "is not a folder"),
        (errno.EACCES, "cannot be written: permission denied"),
        (errno.EROFS, "cannot be written: read-only file system"),
        (errno.ENOSPC, "cannot be written: no space left"),
        (errno.EIO, "cannot be used: input/output error"),
    ],
)
def test_what_the_system_says_is_told_with_what_to_do(code: int, said: str) -> None:
    error = unusable(Path("/data"), OSError(code, os.strerror(code), "/data/key"))
    assert f"/data/key {said}" in str(error)
    assert error.hint


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_trees_go_and_free_space_is_known(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert free_bytes(tmp_path) > 0


def test_a_folder_goes_with_whatever_its_task_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "t.1"
    for extra in ("", "deep"):
        folder.mkdir()
        (folder / "stdout").write_text("x")
        if extra:
            (folder / extra).mkdir()
            (folder / extra / "file").write_text("x")
        discard(folder)
        assert not folder.exists()
    discard(folder)


def test_only_a_plain_file_within_a_folder_is_opened_there(tmp_path: Path) -> None:
    folder = tmp_path / "attempt"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "good").write_text("good")
    with os.fdopen(open_within(folder, folder / "deep" / "good")) as file:
        assert file.read() == "good"
    secret = tmp_path / "secret"
    secret.write_text("of the daemon")
    (tmp_path / "other").write_text("of the daemon too")
    (folder / "symbolic").symlink_to(secret)
    (folder / "hard").hardlink_to(tmp_path / "other")
    (folder / "way").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    for name in ("symbolic", "hard", "way/secret", "pipe", "deep", "../secret", "deep/../../secret", "missing", "."):
        with pytest.raises(OSError):  # noqa: PT011
            open_within(folder, folder / name)
    with pytest.raises(OSError, match="does not lie in the folder"):
        open_within(folder, secret)

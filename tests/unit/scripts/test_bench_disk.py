"""Which folders the benchmarks measure on, and how they refuse the others."""

from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest

from scripts.benchmarks.disk import Mount, mount_of, parse_mounts, require_disk
from scripts.benchmarks.errors import BenchError

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 27 0:40 / /layers rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b
41 27 0:41 / /layers/disk rw,relatime - xfs /dev/vdb rw
42 27 0:42 / /two\040words rw - btrfs /dev/vdc rw
43 27 0:43 / /twice rw - xfs /dev/vdd rw
44 43 0:44 / /twice rw - tmpfs tmpfs rw
""".strip()


def _at(path: str) -> Mount:
    return mount_of(PurePosixPath(path), parse_mounts(MOUNTINFO))


def test_the_deepest_mount_holds_a_path() -> None:
    assert _at("/srv/x").filesystem == "ext4"
    assert _at("/layers/x").filesystem == "overlay"
    assert _at("/layers/disk/x") == Mount(PurePosixPath("/layers/disk"), "xfs", "/dev/vdb")


def test_a_mount_holds_no_path_whose_name_only_begins_like_its_own() -> None:
    assert _at("/layers-of-mine").filesystem == "ext4"


def test_a_mount_point_with_a_space_is_found() -> None:
    assert _at("/two words/x").filesystem == "btrfs"


def test_the_latest_of_two_mounts_at_one_place_lies_on_top() -> None:
    assert _at("/twice/x").filesystem == "tmpfs"


def test_a_tmpfs_is_refused_with_the_flag_that_helps_and_nothing_is_left_on_it() -> None:
    with TemporaryDirectory(dir="/dev/shm") as memory:
        with pytest.raises(BenchError, match="is on tmpfs") as refusal:
            require_disk(Path(memory, "deep", "below"))
        assert "--folder DIR" in refusal.value.hint
        assert list(Path(memory).iterdir()) == []


def test_a_link_to_a_tmpfs_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    with TemporaryDirectory(dir="/dev/shm") as memory:
        link.symlink_to(memory)
        with pytest.raises(BenchError, match="is on tmpfs"):
            require_disk(link / "below")


@pytest.mark.parametrize("filesystem", ["overlay", "tmpfs", "fuse.fuse-overlayfs"])
def test_what_is_no_disk_is_refused_by_its_type(tmp_path: Path, filesystem: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 0:40 / / rw - {filesystem} none rw\n")
    with pytest.raises(BenchError, match=f"is on {filesystem} "):
        require_disk(tmp_path, mountinfo=mounts)


def test_a_folder_on_a_disk_is_made(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTINFO)
    folder = tmp_path / "deep" / "below"
    assert require_disk(folder, mountinfo=mounts).filesystem == "ext4"
    assert folder.is_dir()


def test_a_folder_that_takes_no_file_is_refused_with_the_flag_that_helps() -> None:
    with pytest.raises(BenchError, match="cannot write to the folder /proc/self") as refusal:
        require_disk(Path("/proc/self"))
    assert "--folder DIR" in refusal.value.hint


def test_a_folder_that_cannot_be_made_is_refused_with_the_flag_that_helps(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTINFO)
    with pytest.raises(BenchError, match="Not a directory") as refusal:
        require_disk(mounts / "below", mountinfo=mounts)
    assert "--folder DIR" in refusal.value.hint

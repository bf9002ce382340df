"""Which file system a folder is on, and whether a commit there means a write to a disk."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from scripts.benchmarks.errors import BenchError

MOUNTS = Path("/proc/self/mountinfo")

# Memory, where an fsync does nothing; and layered file systems, whose figures say more of the layers than of the disk.
REFUSED = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs", "overlay", "overlayfs", "aufs", "fuse.fuse-overlayfs"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: where, of which type, from which source."""

    point: PurePosixPath
    filesystem: str
    source: str


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The mounts in the order they were made; the format is proc_pid_mountinfo(5)."""
    mounts = []
    for line in mountinfo.splitlines():
        # A dash ends the optional fields, whose number varies.
        before, _, after = line.partition(" - ")
        filesystem, source, *_ = after.split(" ")
        mounts.append(Mount(PurePosixPath(_unescape(before.split(" ")[4])), filesystem, _unescape(source)))
    return mounts


def mount_of(path: PurePosixPath, mounts: list[Mount]) -> Mount:
    """The mount that an absolute, resolved path lies on: the deepest; of several at one place the latest, on top."""
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not holding:
        raise ValueError(f"no mount holds {path}")
    deepest = max(len(mount.point.parts) for mount in holding)
    return [mount for mount in holding if len(mount.point.parts) == deepest][-1]


def require_disk(folder: Path, *, mountinfo: Path = MOUNTS) -> Mount:
    """Say what the folder is on, and make it if it is missing. Raises BenchError where that is no disk."""
    # What is missing will be made on the same mount as its nearest ancestor; nothing is left behind by a refusal.
    resolved = PurePosixPath(folder.resolve())
    mount = mount_of(resolved, parse_mounts(mountinfo.read_text()))
    if mount.filesystem in REFUSED:
        raise BenchError(
            f"{folder} is on {mount.filesystem} (mounted at {mount.point}), where a commit does not mean a disk write",
            hint="name a folder on a real disk (ext4, xfs, btrfs …) with --folder DIR",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchError(
            f"cannot write to the folder {folder}: {error.strerror}",
            hint="name a folder that you can write to with --folder DIR",
        ) from error
    return mount


def _unescape(field: str) -> str:
    r"""A field of mountinfo as it was: space, tab, newline and backslash stand in it as \ooo."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)

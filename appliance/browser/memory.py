"""What a browser's processes take, and which of its pages takes most. Reads /proc alone."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

MIB: Final = 1024 * 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


# Within this a page whose process was ended is told of as crashed.
TOLD_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Renderer:
    """A process that draws pages."""

    pid: int
    own_mib: int


@dataclass(frozen=True, slots=True)
class EndedPage:
    """A page whose process was ended, and why. `at_s` is a time of the loop."""

    why: str
    at_s: float

    def explains(self, now_s: float) -> bool:
        """Whether a crash that is told now may be that page's: a later one is another's."""
        return now_s - self.at_s <= TOLD_WITHIN_S


def tree_pss_mib(pid: int) -> int:
    """The memory of a process and all that descends from it: what is shared counts in parts (proc(5), Pss)."""
    return sum(_pss_kib(each) for each in (pid, *_descendants(pid))) // 1024


def largest_renderer(pid: int) -> Renderer | None:
    """The renderer below `pid` that has most memory of its own."""
    found = [Renderer(each, _own_mib(each)) for each in _descendants(pid) if _is_renderer(each)]
    return max(found, key=lambda renderer: renderer.own_mib, default=None)


def _descendants(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    return []


def _pss_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:  # noqa: PTH123 - read often
            for line in rollup:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    # Chromium's sandbox hides that file of a renderer from its own user.
    return _own_mib(pid) * 1024


def _own_mib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - read often
            fields = statm.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE // MIB if len(fields) > 2 else 0


def _is_renderer(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123 - read often
            return b"--type=renderer" in line.read()
    except OSError:
        return False

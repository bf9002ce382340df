"""Folders of attempts that are over, kept for the next ones.

Making and removing a folder with its files for every task costs a journaling file system more than the task's own
commits: the creations and removals ride in the same transactions, and make every fsync longer.

A folder comes here when two things have happened, in any order: the attempt's outcome is durable, and nothing of the
attempt lives any more, so that nobody can still write to its files.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from appliance.folder import discard

# More than run and cool down at once on a busy box.
LIMIT_FOLDERS: Final = 64
# More gives its blocks back at once instead.
LIMIT_BYTES: Final = 65536
# Folders are taken in a little later: just now somebody waits for the next task to start.
PAUSE_S: Final = 0.005


class FolderPool:
    """The free folders under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._free = _folders(root)
        self._settled: dict[str, Path | None] = {}
        self._gone: set[str] = set()
        self._unfit: set[Path] = set()
        self._due: list[Path] = []

    def take(self) -> Path | None:
        """A folder to be renamed for an attempt."""
        return self._free.pop() if self._free else None

    def settle(self, key: str, folder: Path | None, written_bytes: int | None) -> None:
        """The outcome of attempt `key` is durable; `folder` None: it stays or is gone otherwise.

        `written_bytes` is what it wrote; None where no end of it was seen, so that its files may not even be there.
        """
        if folder is not None and (written_bytes is None or written_bytes > LIMIT_BYTES):
            self._unfit.add(folder)
        if key in self._gone:
            self._gone.remove(key)
            self._give(folder)
        else:
            self._settled[key] = folder

    def gone(self, key: str) -> None:
        """Nothing of attempt `key` lives any more."""
        if key in self._settled:
            self._give(self._settled.pop(key))
        else:
            self._gone.add(key)

    def clear(self) -> dict[str, Path | None]:
        """The spawner was lost: nobody will say what is gone. What was settled is the caller's now."""
        settled, self._settled = self._settled, {}
        self._gone.clear()
        # Those that it held for attempts to come are free again.
        self._free = _folders(self._root)
        return settled

    def _give(self, folder: Path | None) -> None:
        if folder is None:
            return
        if not self._due:
            asyncio.get_running_loop().call_later(PAUSE_S, self._take_in)
        self._due.append(folder)

    def _take_in(self) -> None:
        due, self._due = self._due, []
        for folder in due:
            self._take_one_in(folder)

    def _take_one_in(self, folder: Path) -> None:
        if len(self._free) >= LIMIT_FOLDERS or folder in self._unfit:
            self._unfit.discard(folder)
            discard(folder)
            return
        place = self._root / folder.name
        try:
            os.rename(folder, place)  # noqa: PTH104 - done for every task
        except OSError:
            discard(folder)
        else:
            self._free.append(place)


def _folders(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if folder.is_dir()]

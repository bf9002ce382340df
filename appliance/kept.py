"""Spool folders that stay after their task: those whose output did not fit into the outcome, while there is room."""

import os
import shutil
import time
from pathlib import Path

from appliance import spool
from appliance.folder import attempt_key, remove_tree
from cloudsync.spec import MAX_ATTEMPTS

_RECORDS = ("stdout", "stderr", "started", "exit", "stdin")


class KeptSpools:
    """Keeps folders under `root`, oldest out first, within a budget of space and of days."""

    def __init__(self, root: Path, budget_bytes: int, keep_days: int) -> None:
        self._root = root
        self._budget_bytes = budget_bytes
        self._keep_s = keep_days * 24 * 3600

    def keep(self, folder: Path) -> None:
        """Take an attempt's folder over."""
        try:
            folder.rename(self._root / folder.name)
        except OSError:
            remove_tree(folder)
        self.sweep()

    def newest(self, task_id: str) -> Path | None:
        """The folder of a task's last attempt, where it is still kept."""
        for attempt in range(MAX_ATTEMPTS, 0, -1):
            folder = self._root / attempt_key(task_id, attempt)
            if folder.is_dir():
                return folder
        return None

    def sweep(self) -> None:
        """Remove what is too old or too much."""
        folders = sorted((entry for entry in self._root.iterdir() if entry.is_dir()), key=_age_key, reverse=True)
        room = self._budget_bytes
        oldest_s = time.time() - self._keep_s
        for folder in folders:
            room -= spool.used_bytes(folder)
            if room < 0 or folder.stat().st_mtime < oldest_s:
                shutil.rmtree(folder, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove an attempt's folder; quick for one that holds only what its spawner put there."""
    # By os and str: this is done for every task, and pathlib doubles its cost.
    path = str(folder)
    for name in _RECORDS:
        try:
            os.unlink(f"{path}/{name}")  # noqa: PTH108
        except FileNotFoundError:
            continue
        except OSError:
            break
    try:
        os.rmdir(path)  # noqa: PTH106
    except FileNotFoundError:
        pass
    except OSError:
        remove_tree(folder)


def _age_key(folder: Path) -> float:
    return folder.stat().st_mtime

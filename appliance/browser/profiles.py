"""Profiles: the storage state of a browser (cookies, local storage, IndexedDB) under a name, from task to task.

Each is a folder with `state.json`, the last good one, and `state.previous.json`, the one before. A task that saves
leaves a draft, made durable before its outcome is; the draft takes its place when the outcome says that the task
succeeded, and goes where it does not. After a cut the journal's word decides what becomes of a draft.
"""

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.folder import open_within, sync_folder, write_durably

log = logging.getLogger(__name__)

STATE: Final = "state.json"
PREVIOUS: Final = "state.previous.json"
_DRAFT: Final = "draft-"
# What a page can store in a profile, a box must be able to read at every start of a task.
LIMIT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a task begins with; `note` says where that is not what was saved last."""

    state: bytes | None
    note: str = ""


class Profiles:
    """The profiles under `root`. Calls block for as long as the disk takes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self, name: str) -> Loaded:
        """The last good state; none where nothing was saved yet."""
        folder = self._root / name
        damaged = []
        for file in (STATE, PREVIOUS):
            try:
                state = (folder / file).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                damaged.append(f"{file} cannot be read: {error.strerror}")
                continue
            if _is_state(state):
                return Loaded(state, _note(name, damaged, "the one saved before it was used"))
            damaged.append(f"{file} is damaged")
        return Loaded(None, _note(name, damaged, "an empty one was used"))

    def draft(self, name: str, task_id: str, attempt: Path, left: Path) -> None:
        """Make the state that a task left in its attempt's folder durable, beside the last good one; `ValueError` where
        it is none."""
        folder = self._root / name
        with os.fdopen(open_within(attempt, left), "rb") as file:
            state = file.read(LIMIT_BYTES + 1)
        if len(state) > LIMIT_BYTES or not _is_state(state):
            raise ValueError(f"the state is no storage state, or has more than {LIMIT_BYTES // 1024**2} MiB")
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            sync_folder(self._root)
        write_durably(folder / f"{_DRAFT}{task_id}.json", state)

    def settle(self, name: str, task_id: str, *, succeeded: bool) -> None:
        """The task's outcome is durable: its draft takes its place, or goes."""
        folder = self._root / name
        draft = folder / f"{_DRAFT}{task_id}.json"
        if not draft.exists():
            return
        if not succeeded:
            draft.unlink()
            return
        with suppress(FileNotFoundError):
            (folder / STATE).rename(folder / PREVIOUS)
            sync_folder(folder)
        draft.rename(folder / STATE)
        sync_folder(folder)

    def sweep(self, succeeded: Callable[[str], bool]) -> None:
        """Settle what was left by a cut; `succeeded` says what the journal has of a task."""
        for draft in self._root.glob(f"*/{_DRAFT}*.json"):
            task_id = draft.stem.removeprefix(_DRAFT)
            self.settle(draft.parent.name, task_id, succeeded=succeeded(task_id))


def _is_state(data: bytes) -> bool:
    """Whether it is a storage state (Playwright's page "Authentication", `storageState`)."""
    try:
        state = json.loads(data)
    except ValueError:
        return False
    return isinstance(state, dict) and isinstance(state.get("cookies"), list) and isinstance(state.get("origins"), list)


def _note(name: str, damaged: list[str], instead: str) -> str:
    if not damaged:
        return ""
    log.warning("a profile is damaged", extra={"profile": name, "files": damaged})
    return f"profile {name}: {' and '.join(damaged)}; {instead}"

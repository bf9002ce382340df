"""The files that a task left, put where someone wants them: whole and as they were, or not at all."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudsync.errors import Misuse
from cloudsync.labels import TRACE

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a task is to leave, and where it goes. `back`: how many steps from the last; None: the trace."""

    flag: str
    path: Path
    back: int | None


def find(wanted: Wanted, task: Mapping[str, Any]) -> Json | str:
    """The artifact of a task that is wanted, or why there is none."""
    if wanted.back is None:
        name: object = TRACE
    else:
        steps = (task.get("result") or {}).get("steps") or []
        step = steps[-wanted.back] if len(steps) >= wanted.back else {}
        name = step.get("value") if step.get("state") == "succeeded" else None
    for artifact in task.get("artifacts") or []:
        if artifact.get("name") == name:
            return dict(artifact)
    return f"{wanted.flag[2:]}: the task kept none"


def write(path: Path, pieces: Iterable[bytes], sha256: str) -> bool:
    """Put a file in place whole; False where it is not the one with this hash. `Misuse` where it cannot be written."""
    draft = path.with_name(f".{path.name}.part")
    found = hashlib.sha256()
    try:
        try:
            with draft.open("wb") as file:
                for piece in pieces:
                    found.update(piece)
                    file.write(piece)
            if found.hexdigest() == sha256:
                draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror}", "free some space, or name another file") from error
    return found.hexdigest() == sha256

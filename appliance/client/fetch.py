"""Fetching what tasks left from the box: whole and as it was, or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from appliance.client.box import PROGRAM, Box
from appliance.errors import Declined, OperatorError
from cloudsync.errors import Misuse
from cloudsync.labels import file_names
from cloudsync.terminal import files
from cloudsync.terminal.ending import say
from cloudsync.terminal.size import size

PIECE_BYTES: Final = 64 * 1024


def fetch(box: Box, artifact: dict[str, Any], path: Path, *, label: str, quiet: bool = False) -> bool:
    """Put an artifact in a place and say so; False, and said why, where the box does not have it."""
    try:
        is_whole = files.write(path, _pieces(box, artifact["id"]), artifact["sha256"])
    except Declined as declined:
        say(PROGRAM, f"{label}: {declined}", declined.hint)
        return False
    if not is_whole:
        raise OperatorError(f"{artifact['name']} is damaged on the box", "See to its disk, and run the task again.")
    if not quiet:
        print(f"{label}: {path} ({size(artifact['size_bytes'])})")
    return True


def fetch_all(box: Box, task: dict[str, Any], folder: Path, *, quiet: bool = False) -> bool:
    """Put all that a task left into a folder, which is made where it is not there; whether the box has all of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misuse(f"--artifacts {folder}: {error.strerror}", "name a folder") from error
    if not task["artifacts"]:
        say(PROGRAM, f"task {task['id']} has left no files")
    has_all = True
    names = file_names([artifact["name"] for artifact in task["artifacts"]])
    for artifact, name in zip(task["artifacts"], names, strict=True):
        has_all &= fetch(box, artifact, folder / name, label=artifact["name"], quiet=quiet)
    return has_all


def _pieces(box: Box, artifact_id: str) -> Iterator[bytes]:
    with box.open(f"/artifacts/{artifact_id}") as answer:
        while piece := answer.read(PIECE_BYTES):
            yield piece

"""Fetching what tasks left: whole and as it was, on from where the last attempt was cut, or not at all."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from cloudsync.labels import file_names
from cloudsync.terminal.table import Column, plain, print_table
from hub.client.errors import ClientError, Misuse, Refused, Unreachable
from hub.client.http import PROGRAM, Hub, segment

PIECE_BYTES: Final = 256 * 1024
# Between attempts at one file, each from where the one before was cut.
RETRY_S: Final = (0.2, 1.0, 3.0)
# How often is looked whether a box has sent what is pending.
LOOK_S: Final = 0.5
STATE_STYLES: Final = {"stored": "green", "pending": "cyan", "lost": "red"}

Artifact = dict[str, Any]
Show = Callable[[int], None]


def list_of(hub: Hub, task_id: str) -> list[Artifact]:
    """All that a task left."""
    return list(hub.items(f"tasks/{segment(task_id)}/artifacts"))


def show(artifacts: Sequence[Artifact], task_id: str) -> None:
    """List them, with what can be done about them."""
    if not artifacts:
        return
    columns = [Column("ARTIFACT", whole=True), Column("NAME"), Column("BYTES", right=True, whole=True)]
    rows = [[str(one.get(name) or "") for name in ("id", "name", "size_bytes", "state", "why")] for one in artifacts]
    print()
    print_table([*columns, Column("STATE", whole=True, styles=STATE_STYLES), Column("WHY")], rows)
    print(f"\n'{PROGRAM} task {task_id} --artifacts DIR' fetches them, '{PROGRAM} link ARTIFACT' is for a browser.")


def link(hub: Hub, arguments: argparse.Namespace) -> int:
    """Make a link to an artifact that needs no key: of a trace, to the viewer with the trace in it."""
    ttl_s = {} if arguments.ttl_s is None else {"ttl_s": arguments.ttl_s}
    made = hub.post(f"artifacts/{segment(arguments.artifact, 'artifact')}/link", ttl_s)
    if arguments.json:
        print(json.dumps({**made, **{name: hub.address.url + str(made[name]) for name in ("url", "download_url")}}))
        return 0
    print(hub.address.url + str(made["url"]))
    print(f"{PROGRAM}: whoever has it may read the artifact until {made['expires_at']}", file=sys.stderr)
    return 0


def fetch(hub: Hub, task_id: str, folder: Path, wait_s: float, *, quiet: bool) -> tuple[int, list[Artifact]]:
    """Put all that a task left into a folder, made where it is not: 0, or 1 where something is missing; and what."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misuse(f"--artifacts {folder}: {error.strerror}", "name a folder") from error
    found = list_of(hub, task_id)
    names = file_names([str(one.get("name")) for one in found])
    if not found and not quiet:
        print(f"{PROGRAM}: task {task_id} has left nothing", file=sys.stderr)
    until = time.monotonic() + wait_s
    missing = 0
    with _progress(found, quiet=quiet) as bar:
        for index, name in enumerate(names):
            one = found[index]
            while one.get("state") == "pending" and time.monotonic() < until:
                time.sleep(LOOK_S)
                found[: len(names)] = list_of(hub, task_id)[: len(names)]
                one = found[index]
            path = folder / name
            if one.get("state") == "stored":
                fetch_one(hub, one, path, bar.of(name, int(one["size_bytes"])))
                one["path"] = str(path)
                if not quiet:
                    bar.say(f"{plain(name)}: {path} ({one['size_bytes']} bytes)")
            else:
                missing += 1
                bar.complain(_missing(one))
    return (1 if missing else 0), found


def _missing(one: Artifact) -> str:
    if one.get("state") == "lost":
        return f"{plain(str(one.get('name')))} is lost: {plain(str(one.get('why')))}"
    return f"{plain(str(one.get('name')))} is pending: its box has not sent it yet; '--wait S' waits for it"


def fetch_one(hub: Hub, one: Artifact, path: Path, show: Show) -> None:
    """Bring one file into its place; a part that is there from before is gone on with."""
    size, sha256 = int(one["size_bytes"]), str(one["sha256"])
    draft = path.with_name(f".{path.name}.{sha256[:8]}.part")
    try:
        if path.is_file() and path.stat().st_size == size and _hash(path) == sha256:
            show(size)
            return
        for pause_s in (*RETRY_S, None):
            try:
                _go_on(hub, str(one["id"]), draft, size, sha256, show)
                break
            except Unreachable as error:
                if pause_s is None or not error.passing:
                    raise
                time.sleep(pause_s)
        if _hash(draft) != sha256:
            draft.unlink()
            raise ClientError(f"{path.name} came with another content than it was kept with", "fetch it again")
        draft.rename(path)
    except Refused:
        if draft.is_file() and not draft.stat().st_size:
            draft.unlink()
        raise
    except OSError as error:
        hint = "free some space, or name another folder"
        raise Misuse(f"{path} cannot be written: {error.strerror}", hint) from error


def _go_on(hub: Hub, artifact_id: str, draft: Path, size: int, sha256: str, show: Show) -> None:
    """Add what is missing to a draft."""
    with draft.open("ab") as file:
        start = file.tell()
        if start > size:
            file.truncate(0)
            start = 0
        show(start)
        if start == size and size:
            return
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{sha256}"'} if start else {}
        try:
            with hub.open(f"artifacts/{segment(artifact_id, 'artifact')}", headers=headers) as response:
                if start and response.status != 206:
                    file.truncate(0)
                    start = 0
                # What has come is kept where the rest does not.
                while piece := response.read1(PIECE_BYTES):
                    file.write(piece)
                    start += len(piece)
                    show(start)
        except Refused as refused:
            if refused.status != 416:
                raise
            file.truncate(0)
            raise Unreachable("what is there is no part of it") from refused
        if start < size:
            raise Unreachable(f"the answer of {hub.address.place} broke off", "try again")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Quiet:
    """Shows nothing on its way, for a file or a pipe."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def of(self, name: str, size: int) -> Show:
        """How far one file is."""
        del name, size
        return lambda _: None

    def say(self, text: str) -> None:
        """A file is there."""
        if not self._quiet:
            print(text, flush=True)

    def complain(self, text: str) -> None:
        """A file is not there."""
        print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)


class _Bar(_Quiet):
    """A bar for each file, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        super().__init__(quiet=False)
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn())
        # Its stand-in for stdout would write to stderr.
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def of(self, name: str, size: int) -> Show:
        task = self._progress.add_task(plain(name), total=size)
        return lambda done: self._progress.update(task, completed=done)

    def say(self, text: str) -> None:
        # Both may be the same terminal.
        self._progress.stop()
        super().say(text)
        self._progress.start()

    def complain(self, text: str) -> None:
        self._progress.print(f"{PROGRAM}: {text}", markup=False, highlight=False)


@contextmanager
def _progress(found: Sequence[Artifact], *, quiet: bool) -> Iterator[_Quiet]:
    if quiet or not found or not sys.stderr.isatty():
        yield _Quiet(quiet=quiet)
    else:
        with _Bar() as bar:
            yield bar

"""The store of what tasks left: what is in it is exact and durable, and it stays within its budget, honestly."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from appliance.artifacts import ArtifactStore, Found, Taken
from appliance.batch import Batch
from appliance.browser import result
from appliance.engine import Engine
from cloudsync.spec import Artifact
from tests.unit.appliance.engines import Engines

KIB = 1024
TASK = (
    "INSERT INTO tasks (id, origin, state, spec, created_by, created_at, ended_at, final_seq) VALUES (?,?,?,?,?,?,?,?)"
)


class Shelf:
    """A store in a real journal's folder, and files to take in."""

    def __init__(self, engine: Engine, folder: Path, limit_kib: int) -> None:
        self.engine = engine
        self.folder = folder
        self.root = engine.folder.artifacts
        self.store = ArtifactStore(self.root, engine.journal, engine.outbox, limit_kib * KIB, 1)

    def file(self, name: str, content: bytes) -> Found:
        """A file of a task."""
        path = self.folder / name
        path.write_bytes(content)
        return Found(name, path)

    async def enter(self, task_id: str, taken: Taken) -> None:
        """Commit what was taken in."""
        batch = Batch(self.engine.journal, self.engine.outbox)
        batch.add((TASK, (task_id, "local", "succeeded", "{}", "", 0, 0, self.engine.journal.head)))
        self.store.enter(batch, task_id, taken)
        batch.commit()
        await self.engine.journal.committed([])

    async def keep(self, task_id: str, *contents: bytes) -> tuple[Artifact, ...]:
        """Take files of these contents in as what a task left."""
        found = [self.file(f"{task_id}-{number}.bin", content) for number, content in enumerate(contents)]
        taken = await self.store.take_in(self.folder, found)
        await self.enter(task_id, taken)
        return taken.artifacts

    def there(self) -> set[bytes]:
        """The contents that lie in the store, each under the name of its hash."""
        contents = {path.name: path.read_bytes() for path in self.root.iterdir()}
        assert all(hashlib.sha256(content).hexdigest() == name for name, content in contents.items())
        assert sum(map(len, contents.values())) == self.store.used_bytes
        return set(contents.values())

    def states(self) -> dict[str, str]:
        """The state of each task's artifacts."""
        rows = self.engine.journal.rows("SELECT task_id, state FROM artifacts ORDER BY n")
        return {row["task_id"]: row["state"] for row in rows}

    def lost(self) -> list[Any]:
        """What the event log says was lost, and why."""
        query = """SELECT json_extract(body, '$.task_id') AS task, json_extract(body, '$.why') AS why FROM events
        WHERE json_extract(body, '$.type') = 'artifact' ORDER BY seq"""
        return [(row["task"], row["why"]) for row in self.engine.journal.rows(query)]


def block(letter: str, kib: int = 40) -> bytes:
    """A content of its own."""
    return letter.encode() * (kib * KIB)


@pytest.fixture
async def shelf(engines: Engines, tmp_path: Path) -> Shelf:
    """A store of 100 KiB."""
    folder = tmp_path / "left"
    folder.mkdir()
    return Shelf(await engines.open(), folder, 100)


async def test_a_file_is_kept_exactly_under_its_hash_with_what_it_is(shelf: Shelf) -> None:
    content = bytes(range(256)) * 20
    found = [shelf.file("a.bin", content), shelf.file("b.txt", "grün\n".encode()), shelf.file("empty", b"")]
    taken = await shelf.store.take_in(shelf.folder, [*found, Found("shot.png", found[0].path, "image/png")])
    first, _, third, fourth = taken.artifacts
    assert (first.name, first.size_bytes, first.sha256) == ("a.bin", 5120, hashlib.sha256(content).hexdigest())
    assert [one.media_type for one in taken.artifacts] == [
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "text/plain; charset=utf-8",
        "image/png",
    ]
    assert fourth.sha256 == first.sha256
    assert len({one.id for one in taken.artifacts}) == 4
    assert shelf.there() == {content, "grün\n".encode(), b""}
    assert [path.stat().st_mode & 0o777 for path in shelf.root.iterdir()] == [0o600] * 3
    await shelf.enter("t", taken)
    assert [row["name"] for row in shelf.store.of_task("t")] == ["a.bin", "b.txt", "empty", "shot.png"]
    row = shelf.store.find(third.id)
    assert row is not None
    assert (row["state"], row["here"], shelf.store.path(row["sha256"]).read_bytes()) == ("kept", 1, b"")
    assert shelf.store.find("nobody") is None


async def test_a_file_in_a_folder_of_its_own_is_kept(shelf: Shelf) -> None:
    deep = shelf.folder / "deep" / "er"
    deep.mkdir(parents=True)
    (deep / "a.txt").write_bytes(b"deep")
    await shelf.enter("t", await shelf.store.take_in(shelf.folder, [Found("a.txt", deep / "a.txt")]))
    assert shelf.there() == {b"deep"}


async def test_what_its_task_does_to_the_file_afterwards_changes_nothing(shelf: Shelf) -> None:
    found = shelf.file("a", b"first")
    with found.path.open("r+b") as still_open:
        taken = await shelf.store.take_in(shelf.folder, [found])
        still_open.write(b"later")
    await shelf.enter("t", taken)
    assert shelf.there() == {b"first"}


async def test_what_is_no_plain_file_of_the_task_is_left_out_and_the_rest_is_kept(shelf: Shelf) -> None:
    secret = shelf.folder.parent / "secret"
    secret.write_text("of the daemon")
    (shelf.folder / "symbolic").symlink_to(secret)
    other = shelf.folder.parent / "other"
    other.write_text("of the daemon too")
    (shelf.folder / "hard").hardlink_to(other)
    (shelf.folder / "folder").mkdir()
    os.mkfifo(shelf.folder / "pipe")
    (shelf.folder / "way").symlink_to(secret.parent)
    names = ["symbolic", "hard", "folder", "pipe", "missing", "way/secret", "../secret", ".", "folder/../../secret"]
    found = [Found(name, shelf.folder / name) for name in names]
    found += [Found("absolute", secret), Found("nothing", Path())]
    taken = await shelf.store.take_in(shelf.folder, [*found, shelf.file("good", b"good")])
    assert [one.name for one in taken.artifacts] == ["good"]
    assert shelf.there() == {b"good"}


async def test_the_oldest_that_the_hub_has_go_first_then_the_oldest_that_it_has_not(shelf: Shelf) -> None:
    (_,) = await shelf.keep("unsent", block("a"))
    (stored,) = await shelf.keep("sent", block("b"))
    await shelf.store.stored(stored.sha256)
    await shelf.keep("third", block("c"))
    assert shelf.there() == {block("a"), block("c")}
    assert shelf.states() == {"unsent": "kept", "sent": "stored", "third": "kept"}
    assert shelf.lost() == []
    await shelf.keep("fourth", block("d"))
    assert shelf.there() == {block("c"), block("d")}
    assert shelf.states() == {"unsent": "lost", "sent": "stored", "third": "kept", "fourth": "kept"}
    ((task, why),) = shelf.lost()
    assert (task, "newer" in why) == ("unsent", True)
    row = shelf.store.of_task("sent")[0]
    assert (row["state"], row["here"]) == ("stored", 0)


async def test_what_one_task_leaves_is_not_given_up_for_itself(shelf: Shelf) -> None:
    await shelf.keep("before", block("a"))
    await shelf.keep("large", block("b"), block("c"), block("d"))
    assert shelf.there() == {block("b"), block("c"), block("d")}
    assert shelf.states() == {"before": "lost", "large": "kept"}


async def test_what_is_larger_than_the_budget_is_named_and_lost_at_once(shelf: Shelf) -> None:
    (large,) = await shelf.keep("large", block("a", 101))
    assert (large.size_bytes, large.sha256) == (101 * KIB, hashlib.sha256(block("a", 101)).hexdigest())
    assert shelf.there() == set()
    assert shelf.states() == {"large": "lost"}
    ((task, why),) = shelf.lost()
    assert (task, "larger" in why) == ("large", True)


async def test_the_same_content_is_there_once_and_stays_as_long_as_any_wants_it(shelf: Shelf) -> None:
    (first,) = await shelf.keep("first", block("a"))
    (second,) = await shelf.keep("second", block("a"))
    assert first.sha256 == second.sha256
    assert shelf.store.used_bytes == 40 * KIB
    await shelf.store.stored(first.sha256)
    assert shelf.states() == {"first": "stored", "second": "stored"}
    await shelf.keep("third", block("a"))
    await shelf.keep("fourth", block("b"), block("c"))
    # The third is not with the hub yet, so its content was lost with it and not before the others' was free to go.
    assert shelf.states() == {"first": "stored", "second": "stored", "third": "lost", "fourth": "kept"}
    assert shelf.there() == {block("b"), block("c")}


async def test_a_content_that_leaves_while_another_like_it_comes_stays(shelf: Shelf) -> None:
    (first,) = await shelf.keep("first", block("a"))
    await shelf.store.stored(first.sha256)
    taken = await shelf.store.take_in(shelf.folder, [shelf.file("again", block("a"))])
    await shelf.keep("other", block("b"), block("c"))
    assert block("a") in shelf.there()
    await shelf.enter("second", taken)
    assert block("a") in shelf.there()
    assert shelf.store.of_task("second")[0]["here"] == 1


async def test_a_start_removes_what_no_row_tells_of_and_says_what_is_missing(shelf: Shelf) -> None:
    await shelf.keep("whole", b"whole")
    (missing,) = await shelf.keep("missing", b"missing")
    await shelf.store.take_in(shelf.folder, [shelf.file("untold", b"untold")])
    (shelf.root / ".draft-1").write_bytes(b"half")
    shelf.store.path(missing.sha256).unlink()
    again = Shelf(shelf.engine, shelf.folder, 100)
    again.store.sweep()
    await shelf.engine.journal.committed([])
    assert again.there() == {b"whole"}
    assert again.states() == {"whole": "kept", "missing": "lost"}
    assert again.lost() == [("missing", "its file is no longer on the box's disk")]


async def test_old_copies_of_what_the_hub_has_go_and_their_rows_after_them(shelf: Shelf) -> None:
    (old,) = await shelf.keep("old", b"old")
    await shelf.keep("unsent", b"unsent")
    await shelf.store.stored(old.sha256)
    shelf.store.tidy(keep_days=1)
    await shelf.engine.journal.committed([])
    assert shelf.there() == {b"old", b"unsent"}
    await shelf.engine.journal.committed([("UPDATE artifacts SET at = 0", ())])
    for _ in range(2):
        shelf.store.tidy(keep_days=1)
        await shelf.engine.journal.committed([])
    assert shelf.there() == {b"unsent"}
    assert shelf.states() == {"unsent": "kept"}


async def test_what_is_to_be_sent_is_the_oldest_whose_outcome_the_hub_has(shelf: Shelf) -> None:
    (first,) = await shelf.keep("first", b"first")
    (second,) = await shelf.keep("second", b"second")
    await shelf.engine.journal.committed([("UPDATE tasks SET final_seq = 5 WHERE id = 'first'", ())])
    await shelf.engine.journal.committed([("UPDATE tasks SET final_seq = 4 WHERE id = 'second'", ())])
    assert shelf.store.next_to_send(3) is None
    assert (shelf.store.next_to_send(4) or {})["id"] == second.id
    assert (shelf.store.next_to_send(5) or {})["id"] == first.id
    await shelf.store.stored(first.sha256)
    await shelf.store.lose(second.sha256, second.size_bytes, "because")
    assert shelf.store.next_to_send(9) is None
    assert shelf.lost() == [("second", "because")]
    assert shelf.there() == {b"first"}


async def test_a_restored_hub_gets_again_what_it_has_lost_and_hears_what_is_gone(shelf: Shelf) -> None:
    for number, task_id in enumerate(("old", "new", "gone"), 1):
        (artifact,) = await shelf.keep(task_id, task_id.encode())
        await shelf.store.stored(artifact.sha256)
        await shelf.engine.journal.committed([("UPDATE tasks SET final_seq = ? WHERE id = ?", (number, task_id))])
    await shelf.engine.journal.committed([("UPDATE artifacts SET here = 0 WHERE task_id = 'gone'", ())])
    shelf.store.unstored(1)
    await shelf.engine.journal.committed([])
    assert shelf.states() == {"old": "stored", "new": "kept", "gone": "lost"}
    assert [task for task, _ in shelf.lost()] == ["gone"]


async def test_a_spool_whose_middle_was_given_back_says_so_and_one_that_is_whole_is_exact(shelf: Shelf) -> None:
    path = shelf.folder / "stdout"
    size = 1024 * KIB
    path.write_bytes(block("a", 1024))
    whole = await shelf.store.take_in(shelf.folder, [Found("stdout.txt", path, spool_limit_bytes=16 * KIB)])
    assert whole.lost  # of 1 MiB in a store of 100 KiB nothing is kept
    subprocess.run(["fallocate", "-p", "-o", "8192", "-l", str(size - 16384), path], check=True)
    taken = await shelf.store.take_in(shelf.folder, [Found("stdout.txt", path, spool_limit_bytes=16 * KIB)])
    await shelf.enter("t", taken)
    line = f"\n[… {size - 16384} bytes left out …]\n".encode()
    assert shelf.there() == {b"a" * 8192 + line + b"a" * 8192}
    sparse = await shelf.store.take_in(
        shelf.folder, [Found("stdout.txt", shelf.file("sparse", bytes(KIB)).path, spool_limit_bytes=1)]
    )
    assert sparse.artifacts[0].size_bytes == KIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


async def test_on_a_full_disk_an_artifact_is_lost_and_says_so(
    engines: Engines, tmp_path: Path, small_disk: Path
) -> None:
    engine = await engines.open(small_disk / "box")
    folder = tmp_path / "left"
    folder.mkdir()
    shelf = Shelf(engine, folder, 100)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 256 * KIB))
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while shutil.disk_usage(small_disk).free > 32 * KIB:
            file.write(bytes(4096))
    (artifact,) = await asyncio.wait_for(shelf.keep("t", block("a", 64)), 20)
    assert artifact.sha256 == hashlib.sha256(block("a", 64)).hexdigest()
    assert shelf.there() == set()
    ballast.unlink()
    assert shelf.states() == {"t": "lost"}
    assert shelf.lost() == [("t", "the box's disk is full")]


async def test_an_outcome_can_name_as_many_as_a_task_has_steps_whatever_they_are_called(shelf: Shelf) -> None:
    file = shelf.file("f", b"x").path
    name = '😀"' * 150
    found = [Found(name, file, "application/" + "x" * 200)] * 500
    taken = await shelf.store.take_in(shelf.folder, found)
    assert len({artifact.name for artifact in taken.artifacts}) == 500
    assert max(len(artifact.model_dump_json().encode()) for artifact in taken.artifacts) <= result.ARTIFACT_BYTES

"""What tasks left, fetched from the box."""

import json
from pathlib import Path

from tests.unit.appliance.client.conftest import Daemon, Owner

SIZE = 300_000


async def test_all_that_a_task_left_is_put_into_a_folder(owner: Owner, daemon: Daemon, tmp_path: Path) -> None:
    task_id = (await daemon.engines.run(f"head -c {SIZE} /dev/zero; head -c {SIZE} /dev/zero >&2")).task_id
    folder = tmp_path / "new" / "folder"
    done = await owner("task", task_id, "--artifacts", str(folder))
    assert (done.status, done.err) == (0, "")
    assert done.text.splitlines() == [
        f"stdout.txt: {folder}/stdout.txt (293 KiB)",
        f"stderr.txt: {folder}/stderr.txt (293 KiB)",
    ]
    assert [(folder / name).read_bytes() for name in ("stdout.txt", "stderr.txt")] == [bytes(SIZE)] * 2
    assert "files    stdout.txt (293 KiB, here)" in (await owner("task", task_id)).text
    quiet = await owner("task", task_id, "--artifacts", str(folder), "--json")
    assert [one["name"] for one in json.loads(quiet.out)["artifacts"]] == ["stdout.txt", "stderr.txt"]


async def test_what_is_lost_is_said_and_is_an_error(owner: Owner, daemon: Daemon, tmp_path: Path) -> None:
    task_id = (await daemon.engines.run(f"head -c {SIZE} /dev/zero")).task_id
    ((sha256,),) = daemon.engines.rows("SELECT sha256 FROM artifacts")
    engine = daemon.engines.engine
    assert engine is not None
    await engine.executor.artifacts.lose(sha256, SIZE, "there was no room")
    done = await owner("task", task_id, "--artifacts", str(tmp_path))
    assert done.status == 1
    assert "stdout.txt is lost: there was no room" in done.err
    assert "files    stdout.txt (293 KiB, lost: there was no room)" in (await owner("task", task_id)).text


async def test_a_damaged_file_is_not_handed_out(owner: Owner, daemon: Daemon, tmp_path: Path) -> None:
    task_id = (await daemon.engines.run(f"head -c {SIZE} /dev/zero")).task_id
    ((sha256,),) = daemon.engines.rows("SELECT sha256 FROM artifacts")
    engine = daemon.engines.engine
    assert engine is not None
    engine.executor.artifacts.path(sha256).write_bytes(b"x" * SIZE)
    done = await owner("task", task_id, "--artifacts", str(tmp_path / "files"))
    assert (done.status, list((tmp_path / "files").iterdir())) == (1, [])
    assert "is damaged on the box" in done.err


async def test_a_task_without_files_and_a_place_that_is_none_are_said(
    owner: Owner, daemon: Daemon, tmp_path: Path
) -> None:
    task_id = (await daemon.engines.run("true")).task_id
    none = await owner("task", task_id, "--artifacts", str(tmp_path / "x"))
    assert (none.status, none.err) == (0, f"operis-box: task {task_id} has left no files\n")
    (tmp_path / "file").touch()
    assert (await owner("task", task_id, "--artifacts", str(tmp_path / "file" / "x"))).status == 2

"""Files that tasks left, found and put in place."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudsync.errors import Misuse
from cloudsync.terminal import files
from cloudsync.terminal.files import Wanted

DATA = b"a picture"
SHA256 = hashlib.sha256(DATA).hexdigest()


def a_task(*steps: dict[str, Any], artifacts: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"result": {"steps": list(steps)}, "artifacts": [{"id": name, "name": name} for name in artifacts]}


def step(value: object, state: str = "succeeded") -> dict[str, Any]:
    return {"action": "screenshot", "state": state, "value": value}


def test_a_file_is_found_by_what_its_step_says_it_kept(tmp_path: Path) -> None:
    task = a_task(
        step(None), step("02-screenshot.png"), step("03-pdf.pdf"), artifacts=("03-pdf.pdf", "02-screenshot.png")
    )
    for back, name in ((2, "02-screenshot.png"), (1, "03-pdf.pdf")):
        assert files.find(Wanted("--x", tmp_path, back), task) == {"id": name, "name": name}


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"result": None, "artifacts": None},
        a_task(),
        a_task(step("a.png", "failed"), artifacts=("a.png",)),
        a_task(step("a.png"), artifacts=("b.png",)),
        a_task(step(None, "skipped"), artifacts=("failure.png",)),
    ],
)
def test_what_was_not_kept_is_said(task: dict[str, Any], tmp_path: Path) -> None:
    assert files.find(Wanted("--screenshot", tmp_path, 1), task) == "screenshot: the task kept none"


def test_the_trace_is_found_by_its_name(tmp_path: Path) -> None:
    wanted = Wanted("--trace", tmp_path, None)
    assert files.find(wanted, a_task(artifacts=("failure.png", "trace.zip"))) == {
        "id": "trace.zip",
        "name": "trace.zip",
    }
    assert files.find(wanted, a_task()) == "trace: the task kept none"


def test_a_file_is_put_in_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    assert files.write(path, [DATA[:3], DATA[3:]], SHA256)
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]


def test_another_content_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    assert not files.write(path, [b"other"], SHA256)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise EOFError

    with pytest.raises(EOFError):
        files.write(tmp_path / "a.png", pieces(), SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="cannot be written"):
        files.write(tmp_path / "missing" / "a.png", [DATA], SHA256)

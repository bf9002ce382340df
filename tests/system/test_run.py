"""What a newcomer sees first: `scripts/run`, from its tasks to its end."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.program import ROOT

# As scripts/run ends, but in a folder of its own.
PROGRAM = "import sys; from pathlib import Path; from scripts import demonstration as d; d.FOLDER = Path(sys.argv[1]); "
LIMIT_S = 240.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """On the disk of the checkout, as the real one."""
    base = ROOT / ".run" / "system"
    base.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    yield path
    shutil.rmtree(path)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{PROGRAM} sys.exit(d.main(sys.argv[2:]))", str(folder), "--once", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.timeout(LIMIT_S + 30)
def test_both_kinds_of_task_are_shown_and_no_process_and_no_secret_is_left(folder: Path) -> None:
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("── which machine", "second 5 of 5", "✓ 1 goto http://127.0.0.1:", "✓ 2 give the key", "boxes: [{"):
        assert words in done.stdout
    assert f"screenshot: {folder}/screenshot.png" in done.stdout
    assert (folder / "screenshot.png").read_bytes().startswith(b"\x89PNG")
    key = (folder / "operator.key").read_bytes()
    assert [path.name for path in (folder / "box").rglob("*") if path.is_file() and key in path.read_bytes()] == []
    assert key not in (folder / "hub" / "hub.db").read_bytes()
    left = [
        one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if str(folder) in (one.info["cmdline"] or [])
    ]
    assert left == []

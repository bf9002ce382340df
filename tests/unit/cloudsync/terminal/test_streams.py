"""Standard streams that are closed, full, or read by nobody."""

import os
import subprocess
import sys

import pytest

from cloudsync.terminal.streams import why_unwritten

OPEN = "import sys; from cloudsync.terminal import streams; streams.open_streams(); "


def run(code: str, redirect: str) -> subprocess.CompletedProcess[str]:
    command = f"exec {sys.executable} -c '{OPEN}{code}' {redirect}"
    # Output is buffered, as it is for most.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30, env=env)


@pytest.mark.parametrize("redirect", [">&-", "<&- >&- 2>&-", "2>&-"])
def test_a_closed_stream_takes_what_is_written_and_gives_nothing(redirect: str) -> None:
    code = 'print("out", flush=True); print("err", file=sys.stderr); sys.exit(len(sys.stdin.read()))'
    done = run(code, redirect if "<" in redirect else f"{redirect} </dev/null")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if ">&-" in redirect.replace("2>&-", "") else "out\n")


def test_nothing_that_is_opened_later_gets_what_is_printed() -> None:
    done = run("import socket; sys.exit(socket.socket().fileno())", ">&- 2>&- <&-")
    assert done.returncode > 2


def test_dropped_output_does_not_fail_at_the_end() -> None:
    done = run('print("out"); streams.drop_output()', ">/dev/full")
    assert (done.returncode, done.stderr) == (0, "")


def test_why_nothing_was_written_is_said() -> None:
    assert why_unwritten(BrokenPipeError()) == "nobody reads the output any more"
    assert (
        why_unwritten(OSError(28, "No space left on device")) == "the output cannot be written: No space left on device"
    )
    assert why_unwritten(OSError("odd")) == "the output cannot be written: odd"

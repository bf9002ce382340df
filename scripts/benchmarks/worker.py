"""A helper process of a benchmark: asked and answering in JSON lines, it ends when its standard input does.

What is measured runs in small processes of its own, so that one subject's libraries, threads and children
never weigh on another.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.benchmarks.errors import BenchError

CHECKOUT = Path(__file__).resolve().parents[2]

# An idle worker ends within milliseconds of losing its input; one that does not is stuck.
STOP_TIMEOUT_S = 10.0


class Worker:
    """The asking side: one module of this folder, run as a process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        # A group of its own: an interrupt from the terminal reaches the parent alone, which then stops its workers.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"scripts.benchmarks.{module}", *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """Send one request and wait for its answer. Raises BenchError if the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self.read()

    def read(self) -> Any:
        """The next line that the process says, decoded. Raises BenchError if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def stop(self) -> None:
        """End the process: by closing its input, by a kill if that does nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ended(self) -> BenchError:
        status = self._process.wait(STOP_TIMEOUT_S)
        return BenchError(
            f"the benchmark's {self._module} process ended with status {status}",
            hint="its own error stands above; run the benchmark again once that is mended",
        )


def answer(handle: Callable[[dict[str, Any]], Any]) -> None:
    """The answering side: one answer a request, until the input ends."""
    for line in sys.stdin:
        print(json.dumps(handle(json.loads(line))), flush=True)

"""The floor under a bash task: a fresh bash, its output read from a pipe to the end, its exit status reaped.

Run as a module it is the worker that spawns: stdlib only and small, as a spawning process should be.
"""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from time import perf_counter
from typing import Any, assert_never

from scripts.benchmarks.errors import BenchError
from scripts.benchmarks.figures import percentile
from scripts.benchmarks.subject import Unit
from scripts.benchmarks.worker import Worker, answer

# The command line and the environment of a task on a box: a bash under LANG=C.UTF-8 reads its locale, which is a tenth
# of its life.
COMMAND = ("/bin/bash", "--norc", "--noprofile", "-c", "echo test")
OUTPUT = b"test\n"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}
PARALLEL = 8

# Enough that the page cache, the allocator and the branch predictors have seen it all.
WARM_UP_S = 0.2

CALIBRATION_SPAWNS = 60


class Method(StrEnum):
    """The ways of spawning; the fastest of the parallel ones is the floor."""

    SEQUENTIAL = "sequential"
    POPEN = "popen"
    THREADS = "threads"
    LOOP = "loop"


class SpawnFloor:
    """One method of spawning, as a subject: milliseconds a spawn for the sequential one, spawns a second for others."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._worker: Worker | None = None

    @property
    def name(self) -> str:
        return "spawn" if self._method is Method.SEQUENTIAL else f"spawn_{PARALLEL}_{self._method}"

    @property
    def unit(self) -> Unit:
        return Unit.MS if self._method is Method.SEQUENTIAL else Unit.PER_S

    def start(self) -> None:
        self._worker = Worker("spawn")
        self.sample(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        assert self._worker is not None
        samples: list[float] = self._worker.ask({"method": self._method, "window_s": window_s})
        return samples

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()


def calibrate() -> float:
    """How fast this machine is at this moment: the median of some spawns, in milliseconds."""
    return percentile([_timed(_spawn_and_read) for _ in range(CALIBRATION_SPAWNS)], 50)


def _begin() -> tuple[int, int]:
    """Spawn it; its pid and the end of the pipe to read."""
    reader, writer = os.pipe()
    pid = os.posix_spawn(COMMAND[0], COMMAND, ENVIRONMENT, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    return pid, reader


def _read(reader: int) -> bytes:
    output = b""
    while part := os.read(reader, 4096):
        output += part
    os.close(reader)
    return output


def _check(output: bytes, status: int) -> None:
    if output != OUTPUT or status != 0:
        raise BenchError(
            f"{' '.join(COMMAND)} said {output!r} and ended with status {status}",
            hint="see that /bin/bash works on this machine",
        )


def _spawn_and_read() -> None:
    pid, reader = _begin()
    output = _read(reader)
    _check(output, os.waitpid(pid, 0)[1])


def _popen_and_read() -> None:
    # With close_fds=False and no session or cwd, Popen takes its own posix_spawn path.
    with subprocess.Popen(COMMAND, env=ENVIRONMENT, stdout=subprocess.PIPE, bufsize=0, close_fds=False) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _check(output, process.wait())


def _timed(operation: Callable[[], None]) -> float:
    began = perf_counter()
    operation()
    return (perf_counter() - began) * 1000


def _sequential(window_s: float) -> list[float]:
    """Milliseconds of each spawn, one after another."""
    until = perf_counter() + window_s
    samples = [_timed(_spawn_and_read)]
    while perf_counter() < until:
        samples.append(_timed(_spawn_and_read))
    return samples


def _threaded(operation: Callable[[], None], window_s: float) -> float:
    """Spawns a second of one thread a slot."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        began = perf_counter()

        def work() -> int:
            ended = 0
            while perf_counter() - began < window_s:
                operation()
                ended += 1
            return ended

        slots = [pool.submit(work) for _ in range(PARALLEL)]
        return sum(slot.result() for slot in slots) / (perf_counter() - began)


def _looped(window_s: float) -> float:
    """Spawns a second of one thread that waits for whichever child ends next; it may have no other children.

    The output is read after the exit: it is far below a pipe's capacity, so no child waits for its reader.
    """
    began = perf_counter()
    readers = dict(_begin() for _ in range(PARALLEL))
    ended = 0
    while readers:
        pid, status = os.wait()
        reader = readers.pop(pid)
        if perf_counter() - began < window_s:
            # The next child starts before the last one's output is read, so that no slot stands empty meanwhile.
            following, its_reader = _begin()
            readers[following] = its_reader
        _check(_read(reader), status)
        ended += 1
    return ended / (perf_counter() - began)


def _handle(request: dict[str, Any]) -> list[float]:
    window_s = float(request["window_s"])
    method = Method(request["method"])
    match method:
        case Method.SEQUENTIAL:
            return _sequential(window_s)
        case Method.POPEN:
            return [_threaded(_popen_and_read, window_s)]
        case Method.THREADS:
            return [_threaded(_spawn_and_read, window_s)]
        case Method.LOOP:
            return [_looped(window_s)]
        case _:
            assert_never(method)


if __name__ == "__main__":
    answer(_handle)

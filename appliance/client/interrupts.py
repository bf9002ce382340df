"""Ctrl-C while a task is followed: the first asks for its end, the second leaves it."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """While it is entered the first SIGINT is only counted, so that no output is cut amid a write; the next raises."""

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _came(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

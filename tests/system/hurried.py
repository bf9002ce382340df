"""The daemon of a box in which time can run faster: SIGUSR1 lets its timers run HURRY times as fast, SIGUSR2 as usual.

Only the loop's clock is another; connections, disk, tasks and the system's clocks are real. So an hour without a link,
with each attempt that the real backoff makes in it, takes seconds.
"""

import asyncio
import selectors
import signal
import sys
from pathlib import Path
from typing import Any, Final

from appliance import daemon, logs
from appliance.settings import load

HURRY: Final = 600.0


class _Selector(selectors.EpollSelector):
    """Waits in the system's time for what is due in the loop's."""

    pace = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / self.pace)


class HurriedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock has a pace."""

    def __init__(self) -> None:
        self._waiter = _Selector()
        self._since = self._reached = 0.0
        super().__init__(self._waiter)
        self._since = self._reached = super().time()

    def time(self) -> float:
        """Seconds, of which `pace` pass in a second."""
        return self._reached + (super().time() - self._since) * self._waiter.pace

    def run_at(self, pace: float) -> None:
        """Change the pace; what has passed stays."""
        self._reached, self._since = self.time(), super().time()
        self._waiter.pace = pace


async def _run(data: Path, settings: Any) -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HurriedLoop)
    loop.add_signal_handler(signal.SIGUSR1, loop.run_at, HURRY)
    loop.add_signal_handler(signal.SIGUSR2, loop.run_at, 1.0)
    return await daemon._run(data, settings)


def main(arguments: list[str]) -> int:
    """`DATA NAME=VALUE…`: run as `operis-box run` with these settings."""
    data, *rest = arguments
    logs.configure(verbose=False)
    settings = load({"data": Path(data), **dict(one.split("=", 1) for one in rest)})
    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        return runner.run(_run(Path(data), settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

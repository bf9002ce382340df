"""A box's browser tasks beside bare Playwright, and what two hundred of them leave of memory."""

import shutil
import statistics
from pathlib import Path
from typing import Final

from scripts.benchmarks.figures import Figure, Round, figure
from scripts.benchmarks.page import PageServer
from scripts.benchmarks.subject import Subject, Unit
from scripts.benchmarks.worker import Worker

WARM_UP_S: Final = 3.0
# A window of the other subjects holds hundreds of operations; one here holds two a second.
WINDOW_FACTOR: Final = 4.0
ROW: Final = 200
WARM_TASKS: Final = 20
SPAN: Final = 50


class Browsing:
    """One worker that answers windows."""

    unit = Unit.MS

    def __init__(self, name: str, module: str, folder: Path | None, page: PageServer) -> None:
        self.name = name
        self._module = module
        self._folder = folder
        self._page = page
        self._worker: Worker | None = None

    def start(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        arguments = [self._page.url] if self._folder is None else [str(self._folder), self._page.url]
        self._worker = Worker(self._module, *arguments)
        self._window(WARM_UP_S)

    def sample(self, window_s: float) -> list[float]:
        return self._window(window_s * WINDOW_FACTOR)

    def _window(self, window_s: float) -> list[float]:
        assert self._worker is not None
        samples: list[float] = self._worker.ask({"window_s": window_s})["samples_ms"]
        return samples

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def browsers(folder: Path, page: PageServer) -> list[Subject]:
    """Ours and the floor."""
    return [
        Browsing("browser_task", "browser_box", folder / "browser", page),
        Browsing("bare_playwright", "browser_bare", None, page),
    ]


def in_a_row(folder: Path, page: PageServer) -> dict[str, Figure]:
    """The memory of ROW tasks in a row: of the last SPAN, over that of the SPAN after the first ones."""
    place = folder / "browser-row"
    shutil.rmtree(place, ignore_errors=True)
    worker = Worker("browser_box", str(place), page.url)
    try:
        pss_mib: list[float] = worker.ask({"tasks": ROW})["pss_mib"]
    finally:
        worker.stop()
        shutil.rmtree(place, ignore_errors=True)
    first = statistics.fmean(pss_mib[WARM_TASKS : WARM_TASKS + SPAN])
    last = statistics.fmean(pss_mib[-SPAN:])
    return {
        "browser_memory": figure(Unit.MB, [Round(last, None)]),
        f"browser_memory_over_{ROW}_tasks": figure(Unit.RATIO, [Round(last / first, None)]),
    }

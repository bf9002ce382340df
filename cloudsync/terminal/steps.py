"""The steps of a browser task for people: a line each as it ends, and what they read once the task has."""

import json
import sys
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import Any, Final, TextIO

from cloudsync.terminal import times
from cloudsync.terminal.table import plain
from cloudsync.terminal.task import step_words

_MARKS: Final = {"succeeded": "✓", "failed": "✗", "skipped": "-"}
_PLAIN_MARKS: Final = {"succeeded": "ok", "failed": "FAILED", "skipped": "-"}
# Their value is the name of what they kept.
_KEEPING: Final = frozenset({"screenshot", "pdf"})
VALUE_LINES: Final = 20
# A log may have lines of any length.
_WIDE: Final = 10_000


class Steps:
    """Prints each step of a task as it ends, and what the steps read once the task has."""

    def __init__(self, body: Mapping[str, Any], file: TextIO | None = None) -> None:
        self._file = sys.stdout if file is None else file
        self._steps: Sequence[Any] = body["steps"]
        self._shown = 0
        try:
            "".join(_MARKS.values()).encode(self._file.encoding or "utf-8")
            self._marks = _MARKS
        except UnicodeEncodeError:
            self._marks = _PLAIN_MARKS

    def show(self, report: Mapping[str, Any]) -> None:
        """A step has ended; one that was shown is not shown again."""
        index = int(report["index"])
        if index > self._shown:
            self._shown = index
            self._print(index, report)

    def rest(self, task: Mapping[str, Any]) -> None:
        """The task is over: the steps that were not shown, and the values of those that read something."""
        results = (task.get("result") or {}).get("steps") or []
        for index, result in enumerate(results, 1):
            if index > self._shown and isinstance(result, dict):
                self._print(index, result)
        for index, result in enumerate(results, 1):
            if isinstance(result, dict) and result.get("value") is not None and result.get("action") not in _KEEPING:
                self._print_value(index, result)
        self._file.flush()

    def _print(self, index: int, step: Mapping[str, Any]) -> None:
        state = str(step.get("state"))
        known = self._steps[index - 1] if index <= len(self._steps) else None
        words = str(step.get("name") or "") or (step_words(known) if known else str(step.get("action")))
        took = "" if state == "skipped" else f" {times.span(int(step.get('duration_ms') or 0) / 1000)}"
        head = f"{self._marks.get(state, '?')} {index} "
        width = get_terminal_size().columns if self._file.isatty() else _WIDE
        room = max(8, width - len(head) - len(took) - 1)
        words = " ".join(plain(words).split())
        self._file.write(f"{head}{words if len(words) <= room else words[: room - 1] + '…'}{took}\n")
        self._file.flush()

    def _print_value(self, index: int, step: Mapping[str, Any]) -> None:
        value = step["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *more = plain(text, lines=True).split("\n")
        label = f"{index} {step.get('name') or step.get('action')}: "
        self._file.write(f"{label}{first}\n")
        self._file.write("".join(f"{' ' * len(label)}{line}\n" for line in more[:VALUE_LINES]))
        if len(more) > VALUE_LINES:
            self._file.write(f"{' ' * len(label)}… {len(more) - VALUE_LINES} more lines\n")

"""The steps of a browser task for people: a line each as it ends, and what they read once the task has."""

import json
import sys
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import Any, Final, TextIO

from cloudsync.terminal import times
from cloudsync.terminal.table import plain

_MARKS: Final = {"succeeded": "✓", "failed": "✗", "skipped": "-"}
_PLAIN_MARKS: Final = {"succeeded": "ok", "failed": "FAILED", "skipped": "-"}
# Steps whose value is what they were made for; a test holds it against the union of steps.
READING: Final = frozenset(
    {
        "text", "value", "attribute", "inner_html", "count", "table", "links", "extract", "evaluate", "aria_snapshot",
        "title", "url", "get_cookies", "download",
    }
)  # fmt: skip
# HTTP statuses from here on are no success (RFC 9110, section 15.5).
_NO_SUCCESS: Final = 400
VALUE_LINES: Final = 20
# A log may have lines of any length.
_WIDE: Final = 10_000


def step_words(step: object) -> str:
    """What a step was asked to do, in a few words."""
    match step:
        case {"action": str(action), "url": str(url)}:
            return f"{action} {url}"
        case {"action": str(action), "selector": str(selector)}:
            return f"{action} {selector}"
        case {"action": str(action)}:
            return action
        case _:
            return "?"


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
        result_of_all = task.get("result") or {}
        if result_of_all.get("steps_left_out"):  # those behind no longer have their number
            self._file.write(f"… {result_of_all['steps_left_out']} steps did not fit: result.json has them all\n")
            self._file.flush()
            return
        results = [one for one in result_of_all.get("steps") or [] if isinstance(one, dict)]
        for index, result in enumerate(results, 1):
            if index > self._shown:
                self._print(index, result)
        for index, result in enumerate(results, 1):
            value = result.get("value")
            if value is not None and result.get("action") in READING:
                self._print_value(index, result, value)
            elif isinstance(value, dict) and (value.get("status") or 0) >= _NO_SUCCESS:
                self._print_value(index, result, f"status {value['status']}")
        self._file.flush()

    def _words(self, index: int) -> str:
        known = self._steps[index - 1] if 0 < index <= len(self._steps) else None
        name = known.get("name") if isinstance(known, dict) else None
        return " ".join(plain(str(name or step_words(known))).split())

    def _print(self, index: int, step: Mapping[str, Any]) -> None:
        state = str(step.get("state"))
        name = step.get("name") or ("" if index <= len(self._steps) else step.get("action"))
        words = plain(str(name)) if name else self._words(index)
        if (step.get("error") or {}).get("code") == "cut_off":
            end = ": did not end"
        else:
            end = "" if state == "skipped" else f" {times.span(int(step.get('duration_ms') or 0) / 1000)}"
        self._write(state, index, words, end)

    def _write(self, state: str, index: int, words: str, end: str) -> None:
        """One line, in the width of a terminal."""
        head = f"{self._marks.get(state, '?')} {index} "
        width = get_terminal_size().columns if self._file.isatty() else _WIDE
        room = max(8, width - len(head) - len(end) - 1)
        self._file.write(f"{head}{words if len(words) <= room else words[: room - 1] + '…'}{end}\n")
        self._file.flush()

    def _print_value(self, index: int, step: Mapping[str, Any], value: object) -> None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *more = plain(text, lines=True).split("\n")
        label = f"{index} {plain(str(step.get('name') or step.get('action')))}: "
        self._file.write(f"{label}{first}\n")
        self._file.write("".join(f"{' ' * len(label)}{line}\n" for line in more[:VALUE_LINES]))
        if len(more) > VALUE_LINES:
            self._file.write(f"{' ' * len(label)}… {len(more) - VALUE_LINES} more lines\n")

"""The place where someone who waits for a task reads what it waits for."""

import sys
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import Final, TextIO

# A quick task shows no status at all: on a terminal that would be a flicker, in a log a line too many.
TERMINAL_DELAY_S: Final = 0.4
LOG_DELAY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no end yet. `kind` stays the same while only durations in `text` grow."""

    kind: str
    text: str


class StatusLine:
    """Says on stderr what is waited for: one line rewritten in place on a terminal, else a line when it changes."""

    def __init__(self, program: str, file: TextIO | None = None, *, quiet: bool = False) -> None:
        self._program = program
        self._file = sys.stderr if file is None else file
        self._quiet = quiet
        self._shown = False
        self._kind = ""
        self.in_place = self._file.isatty()

    @property
    def delay_s(self) -> float:
        """How long a wait lasts before it is worth a word."""
        return TERMINAL_DELAY_S if self.in_place else LOG_DELAY_S

    def show(self, why: Reason) -> None:
        """Show it; in a log only where it is another than before, and that a task runs only as news after a wait."""
        if self._quiet:
            return
        if self.in_place:
            width = get_terminal_size().columns
            text = f"{self._program}: {why.text}"
            self._file.write(f"\r\x1b[K{text if len(text) < width else text[: max(1, width - 2)] + '…'}")
            self._file.flush()
            self._shown = True
        elif why.kind != self._kind and (self._kind or why.kind.strip() != "running"):
            self._file.write(f"{self._program}: {why.text}\n")
            self._file.flush()
            self._kind = why.kind

    def clear(self) -> None:
        """Take the line away, before anything else is written to the terminal."""
        if self._shown:
            self._file.write("\r\x1b[K")
            self._file.flush()
            self._shown = False

    def say(self, text: str, hint: str = "") -> None:
        """A line that stays, and one that says what to do."""
        self.clear()
        self._file.write(f"{self._program}: {text}\n" + (f"hint: {hint}\n" if hint else ""))
        self._file.flush()

"""Lists for people on a terminal, which fit its width, and plain columns for other programs."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

# What stands for a control character: a name or an output must not be able to steer the terminal.
_STRANGE: Final = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `whole`: never shortened, since people copy it; `styles`: a colour by the cell's first word."""

    title: str
    right: bool = False
    whole: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)


def plain(text: str, *, lines: bool = False) -> str:
    """Text without what could steer a terminal; on one line unless `lines`."""
    kept = "\n\t" if lines else ""
    return "".join(
        character if character in kept or character.isprintable() else " " if character in "\r\n\t" else _STRANGE
        for character in text
    )


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], file: TextIO | None = None) -> None:
    """Print rows under their titles: on a terminal in its width and with colours, else aligned and whole."""
    out = sys.stdout if file is None else file
    cells = [[plain(cell) for cell in row] for row in rows]
    if out.isatty():
        _print_rich(columns, cells, out)
    else:
        out.write("".join(f"{line}\n" for line in _aligned(columns, cells)))
        out.flush()


def print_fields(fields: Sequence[tuple[str, str]], file: TextIO | None = None) -> None:
    """Print one thing, a labelled line for each field; fields without a value are left out."""
    out = sys.stdout if file is None else file
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *more = plain(value, lines=True).split("\n")
        out.write(f"{name:<{width}}  {first}\n")
        out.write("".join(f"{'':<{width}}  {line}\n" for line in more))
    out.flush()


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    texts = [[column.title for column in columns], *rows]
    widths = [max(len(line[index]) for line in texts) for index in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in texts
    ]


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=column.whole)
    for row in rows:
        table.add_row(
            *(
                # The text keeps to one line by itself: a column that may not wrap is never shortened first.
                Text(cell, column.styles.get(cell.partition(" ")[0].rstrip(","), ""), no_wrap=True, overflow="ellipsis")
                for cell, column in zip(row, columns, strict=True)
            )
        )
    Console(file=out, highlight=False).print(table)

"""Tables fit their terminal, and nothing in a cell steers it."""

import io
import re

import pytest

from cloudsync.terminal.table import Column, plain, print_fields, print_table

COLUMNS = [Column("TASK", whole=True), Column("STATE", styles={"failed": "red"}), Column("COMMAND")]
ROWS = [["01a2216d33dba2b1b1ce7545d9f1", "failed", "for i in 1 2 3; do " + "x" * 200], ["t-2", "running", "ls"]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_table_fits_a_terminal_and_keeps_ids_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    file = Terminal()
    print_table(COLUMNS, ROWS, file)
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in lines)
    assert ROWS[0][0] in lines[1]
    assert "\x1b[31m" not in file.getvalue()


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()
    print_table(COLUMNS, ROWS, terminal)
    print_table(COLUMNS, ROWS, pipe)
    assert "\x1b[31m" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()


def test_other_programs_get_whole_cells_in_columns() -> None:
    file = io.StringIO()
    print_table([Column("A"), Column("N", right=True)], [["x", "1"], ["long", "100"]], file)
    assert file.getvalue() == "A       N\nx       1\nlong  100\n"


def test_cell_cannot_steer_the_terminal() -> None:
    file = io.StringIO()
    print_table([Column("A")], [["\x1b[2Jred\x07\nnew line"]], file)
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().count("\n") == 2
    assert plain("a\tb\x00\nc", lines=True) == "a\tb\ufffd\nc"


def test_fields_without_a_value_are_left_out() -> None:
    file = io.StringIO()
    print_fields([("box", "b"), ("name", ""), ("inventory", "one: 1\ntwo: 2")], file)
    assert file.getvalue() == "box        b\ninventory  one: 1\n           two: 2\n"

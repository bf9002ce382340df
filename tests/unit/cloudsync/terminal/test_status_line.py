"""What someone who waits reads."""

import io

import pytest

from cloudsync.terminal.status_line import Reason, StatusLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_gets_a_line_only_when_the_wait_is_another() -> None:
    file = io.StringIO()
    line = StatusLine("operis", file)
    line.show(Reason("running ", "running 2 s"))
    for text in ("queued: 1 s", "queued: 2 s"):
        line.show(Reason("queued", text))
    line.show(Reason("running ", "running 3 s"))
    line.clear()
    assert file.getvalue() == "operis: queued: 1 s\noperis: running 3 s\n"


def test_terminal_has_one_line_that_is_rewritten_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    file = Terminal()
    line = StatusLine("operis", file)
    line.show(Reason("queued", "queued: box-1 not connected for 3 min"))
    line.clear()
    line.clear()
    first, second, third = file.getvalue().split("\r\x1b[K")
    assert (first, third) == ("", "")
    assert second == "operis: queued: bo…"
    assert len(second) < 20


def test_quiet_line_shows_nothing() -> None:
    file = io.StringIO()
    StatusLine("operis", file, quiet=True).show(Reason("queued", "queued"))
    assert file.getvalue() == ""

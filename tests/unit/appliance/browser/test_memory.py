"""What real processes take."""

import os
import subprocess
import sys

from appliance.browser.memory import TOLD_WITHIN_S, EndedPage, largest_renderer, tree_pss_mib

GROW = "import sys; data = b'x' * (int(sys.argv[1]) << 20); print('grown', flush=True); sys.stdin.read()"


def grown(mib: int, *more: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-c", GROW, str(mib), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"grown\n"
    return child


def end(*children: "subprocess.Popen[bytes]") -> None:
    for child in children:
        child.communicate()


def test_a_tree_counts_its_children() -> None:
    before = tree_pss_mib(os.getpid())
    child = grown(64)
    assert 60 <= tree_pss_mib(os.getpid()) - before <= 100
    end(child)
    assert tree_pss_mib(child.pid) == 0


def test_the_largest_renderer_is_found_by_what_is_its_own() -> None:
    assert largest_renderer(os.getpid()) is None
    small, large, other = grown(8, "--type=renderer"), grown(48, "--type=renderer"), grown(96)
    found = largest_renderer(os.getpid())
    assert found is not None
    assert found.pid == large.pid
    assert 48 <= found.own_mib <= 80
    end(small, large, other)


def test_a_page_that_was_ended_explains_the_crash_that_follows_and_no_later_one() -> None:
    ended = EndedPage("it took too much", at_s=100.0)
    assert ended.explains(100.0)
    assert ended.explains(100.0 + TOLD_WITHIN_S)
    assert not ended.explains(100.1 + TOLD_WITHIN_S)

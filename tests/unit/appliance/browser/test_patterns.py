"""Addresses and texts that a step wants."""

import signal
import time

import pytest
from hypothesis import given, settings, strategies as st

from appliance.browser.errors import StepFailed
from appliance.browser.patterns import LIMIT_S, glob, is_address, is_text, shown, squeezed
from cloudsync.step.base import Pattern


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("**/done", ["http://a/done", "http://a/b/done"], ["http://a/done/x", "http://a/done?x"]),
        ("http://a/*", ["http://a/", "http://a/b"], ["http://a/b/c"]),
        ("http://a/**", ["http://a/b/c?d"], ["http://b/"]),
        ("**/*.{png,jpg}", ["http://a/b.png", "http://a/b.jpg"], ["http://a/b.gif"]),
        ("http://a/b?x=1", ["http://a/b?x=1"], ["http://a/bxx=1"]),
        ("http://a/\\*", ["http://a/*"], ["http://a/b"]),
        ("http://a/(b)[c]+$", ["http://a/(b)[c]+$"], ["http://a/b"]),
        ("http://a/{b", ["http://a/b"], []),
    ],
)
def test_glob_is_as_playwright_has_it(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [url for url in yes if not is_address(pattern, url)] == []
    assert [url for url in no if is_address(pattern, url)] == []


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_glob(text: str) -> None:
    glob(text)
    assert is_address(text, text)


def test_expression_is_searched_for_anywhere() -> None:
    assert is_address(Pattern(regex=r"/item/\d+$"), "http://a/item/12")
    assert not is_address(Pattern(regex="ITEM"), "http://a/item/12")
    assert is_text(Pattern(regex="^HELLO$", ignore_case=True), "hello", exact=False)


def test_white_space_of_texts_does_not_matter() -> None:
    assert squeezed("  a\n\tb\u00a0c ") == "a b c"
    assert is_text("a  b", "x a\nb y", exact=False)
    assert not is_text("a b", "x a b y", exact=True)
    assert is_text(" a b ", "a\nb", exact=True)


def test_wish_is_shown_as_what_it_is() -> None:
    assert (shown("a"), shown(Pattern(regex="a"))) == ("'a'", "/a/")


@pytest.mark.parametrize("regex", ["(a+)+$", "(a|a)*b", "(?:.*){9}b", r"(\w+\s?)+$"])
def test_an_expression_that_backtracks_is_given_up_and_the_next_is_not(regex: str) -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    began_s = time.process_time()
    with pytest.raises(StepFailed, match="takes more than") as caught:
        is_text(Pattern(regex=regex), "a" * 60 + "!" + "a" * 200_000 + "!", exact=False)
    assert time.process_time() - began_s < 4 * LIMIT_S
    assert "repetitions" in caught.value.hint
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert is_text(Pattern(regex="a!$"), "a" * 200_000 + "!", exact=False)


def test_a_glob_that_backtracks_is_given_up_too() -> None:
    with pytest.raises(StepFailed, match="takes more than"):
        is_address("http://" + "**a" * 12 + "b", "http://" + "a" * 5000)

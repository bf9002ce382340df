"""What is said of a failure of Playwright's."""

import pytest

from appliance.browser.failures import place, reason

BLOCKED = """Locator.click: Timeout 600ms exceeded.
Call log:
  - waiting for locator("button")
    - locator resolved to <button>b</button>
  - attempting click action
    2 × waiting for element to be visible, enabled and stable
      - element is visible, enabled and stable
      - scrolling into view if needed
      - done scrolling
      - <div id="veil"></div> intercepts pointer events
    - retrying click action
    - waiting 20ms
"""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (BLOCKED,
         'not done within 0.6 s: waiting for locator("button"); <div id="veil"></div> intercepts pointer events'),
        ("Page.goto: net::ERR_NAME_NOT_RESOLVED at http://x/\nCall log:\n  - navigating to \"http://x/\"",
         "the host's name has no address (ERR_NAME_NOT_RESOLVED)"),
        ("Page.goto: net::ERR_ODD at http://x/", "the browser says ERR_ODD"),
        ("Page.goto: Download is starting", "the address is a file to be saved, no page: take a download step"),
        ("Locator.fill: Error: Element is not an <input>", "Element is not an <input>"),
        ("Page.evaluate: no way\n    at <anonymous>:1:1", "no way"),
        ("Page.evaluate: Timeout 600ms exceeded.", "not done within 0.6 s"),
        ("", "it failed"),
        ("\x1b[2mLocator.click: x\x1b[22m", "x"),
    ],
)  # fmt: skip
def test_it_is_said_in_a_sentence(message: str, said: str) -> None:
    assert " ".join(reason(message, 0.6).split()) == " ".join(said.split())


def test_long_message_is_cut() -> None:
    assert len(reason("x" * 9999, 1)) < 700


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host.example:8443/a/b?token=1#frag", "https://host.example:8443/a/b?…"),
        ("http://a/#x", "http://a/"),
        ("about:blank", "about:blank"),
        ("data:text/html," + "x" * 999, "data:text/html," + "x" * 45),
    ],
)
def test_address_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert place(url) == shown

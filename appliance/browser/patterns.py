"""Texts and addresses that a step wants, as regular expressions.

A task's expression may backtrack for ever on a page's text, and Python's `re` lets no other thread run meanwhile. It
does look for signals: so a timer ends the search, before the tasks beside it notice. It works in the main thread only.
"""

import re
import signal
from types import FrameType
from typing import Final, NoReturn

from appliance.browser.errors import StepFailed
from cloudsync.step.base import Pattern

# Of the processor, so that a busy machine takes nothing from it. What a search of this length needs is one that
# backtracks: a page's whole text takes some ms.
LIMIT_S: Final = 0.5
_SPACE: Final = re.compile(r"[\s\u200b]+")


class _TakesTooLong(Exception):
    """The timer is over."""


def squeezed(text: str) -> str:
    """The text with each run of white space as one blank, and none around it."""
    return _SPACE.sub(" ", text).strip()


def glob(pattern: str) -> re.Pattern[str]:
    """A glob over addresses as Playwright has it: `*` is anything but `/`, `**` anything, `{a,b}` either."""
    out = []
    depth = 0
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        elif character == "*":
            stars = at
            while at + 1 < len(pattern) and pattern[at + 1] == "*":
                at += 1
            out.append(".*" if at > stars else "[^/]*")
        elif character == "{":
            depth += 1
            out.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            out.append(")")
        elif character == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(character))
        at += 1
    return re.compile("".join(out) + ")" * depth, re.DOTALL)


def expression(wanted: Pattern) -> re.Pattern[str]:
    """The pattern, compiled."""
    return re.compile(wanted.regex, re.IGNORECASE if wanted.ignore_case else 0)


def is_address(wanted: str | Pattern, url: str) -> bool:
    """Whether an address is the one that is wanted: by glob, or by regular expression anywhere in it."""
    if isinstance(wanted, Pattern):
        return _is_found(wanted, expression(wanted), url)
    return wanted == url or _is_found(wanted, glob(wanted), url, whole=True)


def is_text(wanted: str | Pattern, text: str, *, exact: bool) -> bool:
    """Whether a text is, or unless `exact` holds, what is wanted; white space aside."""
    if isinstance(wanted, Pattern):
        return _is_found(wanted, expression(wanted), text)
    return squeezed(wanted) == squeezed(text) if exact else squeezed(wanted) in squeezed(text)


def shown(wanted: str | Pattern) -> str:
    """The wish in a message."""
    return f"/{wanted.regex}/" if isinstance(wanted, Pattern) else f"'{wanted}'"


def _is_found(wanted: str | Pattern, compiled: re.Pattern[str], text: str, *, whole: bool = False) -> bool:
    """Whether the text matches; `StepFailed` where to find out takes more than LIMIT_S."""
    before = signal.signal(signal.SIGVTALRM, _end)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        try:
            return (compiled.fullmatch(text) if whole else compiled.search(text)) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TakesTooLong:
        raise StepFailed(
            f"to look for {shown(wanted)[:200]} in {len(text)} characters takes more than {LIMIT_S:g} s",
            hint="Write it without repetitions inside or next to each other, as in (a+)+ or .*.*, or name a smaller "
            "element.",
        ) from None
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    del signum, frame
    raise _TakesTooLong

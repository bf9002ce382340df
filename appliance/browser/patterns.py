"""Texts and addresses that a step wants, as regular expressions."""

import re
from typing import Final

from cloudsync.step.base import Pattern

_SPACE: Final = re.compile(r"[\s\u200b]+")


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
        return expression(wanted).search(url) is not None
    return wanted == url or glob(wanted).fullmatch(url) is not None


def is_text(wanted: str | Pattern, text: str, *, exact: bool) -> bool:
    """Whether a text is, or unless `exact` holds, what is wanted; white space aside."""
    if isinstance(wanted, Pattern):
        return expression(wanted).search(text) is not None
    return squeezed(wanted) == squeezed(text) if exact else squeezed(wanted) in squeezed(text)


def shown(wanted: str | Pattern) -> str:
    """The wish in a message."""
    return f"/{wanted.regex}/" if isinstance(wanted, Pattern) else f"'{wanted}'"

"""What pydantic found wrong with a message or a task, as a person wrote it: the field they named, the step by number.

Values are never repeated, since they may be secret; words that were to be one of a few, as an action, are.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from cloudsync.spec import KINDS
from cloudsync.steps import ACTIONS, fields_of

# A field or a word that the caller made up is repeated no further.
_WORD_LIMIT: Final = 40
_LIMITS: Final = ("expected", "allowed", "gt", "ge", "lt", "le", "pattern", "max_length", "min_length")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong: the field's path with steps counted from 1, a sentence, and what is allowed."""

    field: str
    message: str
    allowed: Any = None

    def __str__(self) -> str:
        """The sentence with its field, which one about a step names itself."""
        return self.message if self.message.startswith("step ") else f"{self.field or 'the message'}: {self.message}"


def complaints(error: ValidationError, limit: int) -> list[Complaint]:
    """The first `limit` things that are wrong."""
    return [
        _complaint(item["type"], item["loc"], item["msg"], item.get("ctx") or {})
        for item in error.errors(include_url=False, include_input=False)[:limit]
    ]


def _complaint(kind: str, place: tuple[int | str, ...], message: str, context: dict[str, Any]) -> Complaint:
    allowed: Any = {name: context[name] for name in _LIMITS if name in context} or None
    if allowed is not None:
        allowed = allowed.get("expected", allowed.get("allowed", allowed))
    message = message.removeprefix("Value error, ").replace("valid tuple", "valid array")
    if kind in {"too_short", "too_long"}:
        most = context.get("max_length")
        message = f"takes at least {context.get('min_length')} item" if most is None else f"takes at most {most} items"
    if kind in {"union_tag_invalid", "union_tag_not_found"} and (words := _words(context)):
        discriminator, known = words
        place = (*place, discriminator)
        allowed = list(known)
        message = _unknown_word(discriminator, context.get("tag"), known)
    if place[:1] and place[0] in KINDS:
        place = place[1:]
    if len(place) >= 2 and place[0] == "steps" and isinstance(place[1], int):
        return _of_step(kind, place[1], place[2:], message, allowed)
    return Complaint(".".join(str(part) for part in place), message, allowed)


def _of_step(kind: str, index: int, inside: Sequence[int | str], message: str, allowed: Any) -> Complaint:
    number = index + 1
    action = inside[0] if inside and inside[0] in ACTIONS else None
    fields = inside if action is None else inside[1:]
    path = ".".join(str(part) for part in fields)
    where = f"step {number}" if action is None else f"step {number} ({action})"
    if action is not None and len(fields) == 1 and kind == "extra_forbidden":
        known = fields_of(ACTIONS[str(action)])
        message = f"unknown field '{path[:_WORD_LIMIT]}'{_meant(path, known)}; it has {', '.join(known)}"
        allowed = known
    elif kind == "missing":
        message = f"{path} is missing"
    elif path and path != "action":
        message = f"{path}: {message}"
    return Complaint(".".join(filter(None, ("steps", str(number), path))), f"{where}: {message}", allowed)


def _words(context: dict[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    match str(context.get("discriminator", "")).strip("'"):
        case "kind":
            return "kind", KINDS
        case "action":
            return "action", tuple(ACTIONS)
        case _:
            return None


def _unknown_word(what: str, word: object, known: Sequence[str]) -> str:
    listed = f"{what}s: {', '.join(known)}"
    if word is None:
        return f"'{what}' is missing; {listed}"
    return f"unknown {what} '{str(word)[:_WORD_LIMIT]}'{_meant(str(word), known)}; {listed}"


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word[:_WORD_LIMIT], known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""

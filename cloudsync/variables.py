"""Variables and secrets in steps: `{{name}}` is what an earlier step saved, `{{secret:NAME}}` what the box keeps.

A text is filled in once, in one pass: what a variable or a secret holds is never looked at for further ones, so a page
that a step read cannot ask for a secret. `\\{{name}}` stands for the text `{{name}}` itself.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from cloudsync.errors import VariableWrong
from cloudsync.step.base import StepBase

_PLACE: Final = re.compile(r"(\\?)\{\{\s*(?:(secret)\s*:([^{}]*)|([A-Za-z_][A-Za-z0-9_]*))\s*\}\}")
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
# What names a step, a variable or a file is no place for another's value, which may change or be secret.
_FIXED: Final = frozenset({"action", "name", "save_as"})

Kind = TypeVar("Kind", bound=BaseModel)


def _places(text: str) -> Iterator[tuple[str | None, str | None]]:
    """Each (secret's name, variable's name) in the text: one of the two is None."""
    for escape, is_secret, secret, name in _PLACE.findall(text):
        if not escape:
            yield (secret.strip(), None) if is_secret else (None, name)


def _texts(value: object, *, top: bool = False) -> Iterator[str]:
    match value:
        case str():
            yield value
        case BaseModel():
            for name in type(value).model_fields:
                if not top or name not in _FIXED:
                    yield from _texts(getattr(value, name))
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case tuple() | list():
            for inner in value:
                yield from _texts(inner)
        case _:
            pass


def secrets_in(value: object) -> frozenset[str]:
    """The names of the secrets that a model's texts ask for."""
    return frozenset(secret for text in _texts(value) for secret, _ in _places(text) if secret is not None)


def check_secrets(value: object) -> None:
    """`VariableWrong` where a text asks for a secret by what is no name of one."""
    for text in _texts(value):
        for secret, _ in _places(text):
            if secret is not None and not _SECRET_NAME.match(secret):
                raise VariableWrong(
                    f"'{{{{secret:{secret[:40]}}}}}' names no secret: a name has letters, digits and _ . - only"
                )


def check_fields(fields: Mapping[str, object]) -> None:
    """The same of a task's fields beside its steps, and where one asks for a variable, which only steps have."""
    for field, value in fields.items():
        check_secrets(value)
        for text in _texts(value):
            for _, name in _places(text):
                if name is not None:
                    place = f"{{{{{name[:64]}}}}}"
                    raise VariableWrong(
                        f"{field}: '{place}' is a variable, which only steps take; the text itself is \\{place}"
                    )


def check_variables(steps: Sequence[StepBase]) -> None:
    """`VariableWrong` where a step uses a variable that no step before it saves; it names both."""
    saved: dict[str, int] = {}
    savers = {step.save_as: number for number, step in reversed(list(enumerate(steps, 1))) if step.save_as}
    for number, step in enumerate(steps, 1):
        where = f"step {number} ({getattr(step, 'action', '')})"
        try:
            check_secrets(step)
        except VariableWrong as error:
            raise VariableWrong(f"{where}: {error}") from error
        for fixed in ("name", "save_as"):
            if any(True for _ in _places(getattr(step, fixed) or "")):
                raise VariableWrong(f"{where}: {fixed} takes no variable and no secret")
        for text in _texts(step, top=True):
            for _, name in _places(text):
                if name is None or name in saved:
                    continue
                if name in savers:
                    raise VariableWrong(f"{where}: variable '{name[:64]}' is used before step {savers[name]} saves it")
                known = f"; steps before it save {', '.join(saved)}" if saved else "; no step before it has save_as"
                raise VariableWrong(f"{where}: unknown variable '{name[:64]}'{known}")
        if step.save_as:
            saved[step.save_as] = number


def fill_text(text: str, variables: Mapping[str, Any], secrets: Mapping[str, str]) -> str:
    """The text with its variables and secrets filled in: a string as it is, any other value as JSON.

    `VariableWrong` where one is missing: a step that was to save it failed, or the box has no such secret.
    """

    def value(found: re.Match[str]) -> str:
        escape, is_secret, secret, name = found.groups()
        if escape:
            return found[0][1:]
        if is_secret:
            if secret.strip() not in secrets:
                raise VariableWrong(f"the box has no secret '{secret.strip()[:64]}'")
            return secrets[secret.strip()]
        if name not in variables:
            raise VariableWrong(f"variable '{name[:64]}' has no value: the step that saves it did not succeed")
        inserted = variables[name]
        return inserted if isinstance(inserted, str) else json.dumps(inserted, ensure_ascii=False)

    return _PLACE.sub(value, text)


def fill(step: Kind, variables: Mapping[str, Any], secrets: Mapping[str, str]) -> Kind:
    """The step (or another model) with the variables and secrets in all its texts filled in, and checked again.

    Raises `VariableWrong` as `fill_text` does, and pydantic's `ValidationError` where a field does not take what was
    filled in, as an empty selector.
    """
    filled, changed = _filled(step, lambda text: fill_text(text, variables, secrets), top=True)
    return type(step).model_validate(filled) if changed else step


def _filled(value: object, each: Callable[[str], str], *, top: bool = False) -> tuple[Any, bool]:
    """The value with each of its texts replaced, models as dicts, and whether one changed."""
    pairs: list[tuple[Any, Any, bool]]
    match value:
        case str():
            text = each(value)
            return text, text != value
        case BaseModel():
            keep = _FIXED if top else frozenset()
            pairs = [
                (name, *((inner, False) if name in keep else _filled(inner, each)))
                for name in value.model_fields_set
                for inner in [getattr(value, name)]
            ]
        case Mapping():
            pairs = [(key, *_filled(inner, each)) for key, inner in value.items()]
        case tuple() | list():
            items = [_filled(inner, each) for inner in value]
            return [inner for inner, _ in items], any(changed for _, changed in items)
        case _:
            return value, False
    return {key: inner for key, inner, _ in pairs}, any(changed for *_, changed in pairs)

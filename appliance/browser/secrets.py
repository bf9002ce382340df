"""Keeps secrets in: replaces each that stands in a text, in whatever form a page or an error shows it."""

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus

T = TypeVar("T")

# A line of a longer secret that is as short as this may stand anywhere by chance.
_LINE_LEAST: Final = 8
# Base64 of fewer bytes, at an alignment that is not known, leaves too few sure characters to look for.
_BASE64_LEAST: Final = 6


class Redactor:
    """Replaces secrets by `{{secret:NAME}}`. Where one contains another, the longer one is replaced."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for name, secret in secrets.items():
            for form in forms(secret):
                names.setdefault(form, name)
        self._names = names
        self._found = re.compile("|".join(re.escape(form) for form in sorted(names, key=len, reverse=True)))

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._names)

    def text(self, text: str) -> str:
        """The text without its secrets."""
        if not self._names:
            return text
        return self._found.sub(lambda found: f"{{{{secret:{self._names[found[0]]}}}}}", text)

    def value(self, value: Any) -> Any:
        """JSON, with the secrets replaced in all its texts and keys, and in numbers that are one."""
        if not self._names:
            return value
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.value(inner) for inner in value]
            case dict():
                return {self.text(str(key)): self.value(inner) for key, inner in value.items()}
            case int() | float() if not isinstance(value, bool):
                shown = json.dumps(value)
                hidden = self._names.get(shown)
                return value if hidden is None else f"{{{{secret:{hidden}}}}}"
            case _:
                return value


def forms(secret: str) -> Iterator[str]:
    """The ways in which a secret may stand in a text."""
    if not secret:
        return
    lines = [line.strip() for line in secret.splitlines()]
    parts = (
        {secret, secret.strip(), " ".join(secret.split())} if len(lines) > 1 or secret != secret.strip() else {secret}
    )
    parts |= {line for line in lines if len(line) >= _LINE_LEAST} if len(lines) > 1 else set()
    for part in sorted(parts, key=len, reverse=True):
        if part:
            yield from _written(part)


def _written(secret: str) -> Iterator[str]:
    yield secret
    yield from (
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        secret.replace("\\", "\\\\").replace("'", "\\'"),
    )
    for url in (quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!'()*~-._")):
        yield url
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), url)
    data = secret.encode()
    if len(data) >= _BASE64_LEAST:
        for core in _base64_cores(data):
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _base64_cores(data: bytes) -> Iterator[str]:
    """Base64 of the bytes at each of the three alignments, without characters that neighbours share."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        first = (0, 2, 3)[offset]
        shared_last = (offset + len(data)) % 3
        yield encoded[first : len(encoded) - (1 if shared_last else 0)]

"""What a daemon asks for: a `spawn`, and the program it is to start."""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would cost 1 MB for names that only a type checker reads
if TYPE_CHECKING:
    from typing import Any


class SpawnRefused(Exception):
    """A spawn that did not happen; the text says what was wrong with what."""


class Program:
    """What is started; ValueError where a field is missing or of a wrong type."""

    __slots__ = ("argv", "cwd", "env", "user")

    def __init__(self, body: dict[str, Any]) -> None:
        self.cwd = text_of(body, "cwd")
        self.user: str | None = None if body.get("user") is None else text_of(body, "user")
        argv, env = body.get("argv"), body.get("env")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError("argv is not a list of strings")
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            raise ValueError("env is not an object of strings")
        self.argv: list[str] = argv
        self.env: dict[str, str] = env


class Order:
    """A `spawn` as the daemon sent it; ValueError where a field is missing or of a wrong type."""

    __slots__ = ("feed", "folder", "key", "program", "reuse", "stdin")

    def __init__(self, body: dict[str, Any], prepared: Program | None) -> None:
        self.key, self.folder = text_of(body, "key"), text_of(body, "dir")
        self.stdin: str | None = None if body.get("stdin") is None else text_of(body, "stdin")
        self.reuse: str | None = None if body.get("reuse") is None else text_of(body, "reuse")
        feed = body.get("feed")
        if feed is not None and (not isinstance(feed, list) or not all(isinstance(part, str) for part in feed)):
            raise ValueError("feed is not a list of strings")
        self.feed = None if feed is None else "".join(f"{part}\0" for part in feed).encode(errors="surrogateescape")
        if "argv" in body:
            self.program = Program(body)
        elif prepared is None:
            raise ValueError("argv is missing, and nothing was prepared")
        else:
            self.program = prepared


def text_of(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is not a non-empty string")
    return value


def because(error: OSError | ValueError) -> str:
    return ((isinstance(error, OSError) and error.strerror) or str(error)).lower()

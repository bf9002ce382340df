"""What is typed after `--` and in the flags beside it, as the fields of a bash task."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cloudsync.errors import Misuse

_FLAGS: Final = {
    "timeout_s": "--timeout",
    "deliver_within_s": "--deliver-within",
    "env": "--env",
    "cwd": "--cwd",
    "stdin": "--stdin",
    "command": "the command",
    "allow": "--allow",
    "profile": "--profile",
    "steps": "--steps",
}


def script_of(words: Sequence[str]) -> str:
    """One word is a script as it is, several are a command and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def bash_body(
    words: Sequence[str],
    *,
    example: str,
    stdin: str | None,
    env: Sequence[str] | None,
    more: Mapping[str, object],
) -> dict[str, Any]:
    """The task's spec; what is None in `more` is left to the defaults. `Misuse` names what is wrong."""
    if not any(word.strip() for word in words):
        raise Misuse("no command is given", f"write it after --, as in: {example}")
    body: dict[str, Any] = {"kind": "bash.exec", "command": script_of(words)}
    if stdin is not None:
        body["stdin"] = read_text(stdin, f"--stdin {stdin}")
    if env:
        body["env"] = _env(env)
    return body | {name: value for name, value in more.items() if value is not None}


def read_text(name: str, flag: str) -> str:
    """The text of a file, `-` for standard input."""
    what = "standard input" if name == "-" else flag
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Misuse(f"{what} cannot be read: {error.strerror}", "name a file, or - for standard input") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        hint = "a task's input is text: encode bytes, as with base64, and decode them in the script"
        raise Misuse(f"{what} is not valid UTF-8 (byte {error.start})", hint) from error


def _env(pairs: Sequence[str]) -> dict[str, str]:
    env = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise Misuse(f"--env '{pair}' is not NAME=VALUE", "write it as in --env LANG=C.UTF-8")
        env[name] = value
    return env


def by_flags(fields: Sequence[tuple[str, str]]) -> str:
    """What is wrong with the fields of a task, by the flags that gave them."""
    wrong = []
    for field, message in fields:
        if message.startswith("step "):  # it names what it is about
            wrong.append(message)
            continue
        name, _, inside = field.removesuffix(".[key]").partition(".")
        flag = _FLAGS.get(name, name) + (f" {inside}" if inside else "")
        wrong.append(f"{flag}: {message.removeprefix('Value error, ').removeprefix('Input ')}")
    return "; ".join(wrong)


def checked(argv: Sequence[str]) -> Sequence[str]:
    """The command line; `Misuse` where a word of it is no text."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise Misuse("an argument is not valid UTF-8", "pass bytes by --stdin FILE, encoded as text") from error
    return argv


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line before the first `--`, and what follows it, which is for the task and not looked at."""
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]

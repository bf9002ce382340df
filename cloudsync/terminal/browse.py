"""`browse` of both commands: what is typed, as a browser task, and how the command ends."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloudsync.errors import Misuse, StepsUnreadable
from cloudsync.steps_file import read_steps
from cloudsync.task import TaskState
from cloudsync.terminal import ending
from cloudsync.terminal.files import Wanted
from cloudsync.terminal.script import read_text

# Ended, and something in it did not go as it should.
FAILED: Final = 1
_PICTURES: Final = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was typed: the task, and which of its files are wanted where."""

    body: Json
    wanted: tuple[Wanted, ...] = ()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `browse` that are the same for both commands."""
    parser.add_argument("url", nargs="?", metavar="URL", help="the page to go to; may be left out beside --steps")
    parser.add_argument("--steps", metavar="FILE", help="steps to take there, in JSON or YAML; - for standard input")
    parser.add_argument("--screenshot", metavar="F", help="keep a picture of the last page: .png, .jpg or .webp")
    parser.add_argument("--full-page", action="store_true", help="the picture is of the whole page, not of the window")
    parser.add_argument("--pdf", metavar="F", help="keep the last page as a PDF")
    parser.add_argument("--trace", metavar="F", help="keep a trace for Playwright's viewer, as trace.zip")
    parser.add_argument(
        "--allow",
        action="append",
        metavar="H",
        help="a host, address or network that may be reached beside public ones; may be repeated",
    )
    parser.add_argument("--profile", metavar="P", help="the profile on the box whose cookies and storage are used")
    parser.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds it may take (120)")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The task that was typed; `Misuse` where it cannot be."""
    fields = _from_file(arguments.steps)
    steps = fields.pop("steps", [])
    if arguments.url is not None:
        steps = [{"action": "goto", "url": _url(arguments.url)}, *steps]
    elif arguments.steps is None:
        raise Misuse("no page is given", "write its address, as in https://example.com, or name --steps FILE")
    if arguments.full_page and arguments.screenshot is None:
        raise Misuse("--full-page is for --screenshot", "name a file for the picture with --screenshot")
    kept: list[tuple[str, str, Json]] = []
    if arguments.screenshot is not None:
        kind = _PICTURES.get(Path(arguments.screenshot).suffix.lower())
        if kind is None:
            raise Misuse(f"--screenshot {arguments.screenshot} is no picture", "name a .png, .jpg or .webp file")
        more = {"full_page": True} if arguments.full_page else {}
        kept.append(("--screenshot", arguments.screenshot, {"action": "screenshot", "type": kind, **more}))
    if arguments.pdf is not None:
        kept.append(("--pdf", arguments.pdf, {"action": "pdf"}))
    steps = [*steps, *(step for _, _, step in kept)]
    wanted = [Wanted(flag, _place(flag, path), len(kept) - number) for number, (flag, path, _) in enumerate(kept)]
    body: Json = {**fields, "kind": "browser.run", "steps": steps}
    if arguments.trace is not None:
        body["trace"] = True
        wanted.append(Wanted("--trace", _place("--trace", arguments.trace), None))
    if arguments.allow:
        body["allow"] = [*(body["allow"] if isinstance(body.get("allow"), list) else []), *arguments.allow]
    body |= {name: value for name in ("profile", "timeout_s") if (value := getattr(arguments, name)) is not None}
    return Plan(body, tuple(wanted))


def _from_file(name: str | None) -> Json:
    if name is None:
        return {}
    text = read_text(name, f"--steps {name}")
    try:
        fields = read_steps(text)
    except StepsUnreadable as error:
        raise Misuse(f"--steps {name}: {error}", "write a list of steps, or an object with 'steps'") from error
    if fields["steps"]:
        _check(name, fields["steps"])
    return fields


def _check(name: str, steps: list[Any]) -> None:
    """Refuse wrong steps by their numbers in the file; in the task they are others where a URL comes before them."""
    # Only here: a command without a file of steps starts without what judges them.
    from pydantic import ValidationError

    from cloudsync.complaint import complaints
    from cloudsync.spec import SPEC

    try:
        SPEC.validate_python({"kind": "browser.run", "steps": steps}, strict=False)
    except ValidationError as error:
        raise Misuse(
            f"--steps {name}: {complaints(error, 1)[0]}", "correct it; docs/steps.md has every step"
        ) from error


def _url(text: str) -> str:
    if "://" not in text:
        raise Misuse(f"'{text}' has no scheme", f"write it whole, as in https://{text}")
    return text


def _place(flag: str, name: str) -> Path:
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else f"in {path.parent}, which is no folder"
        raise Misuse(f"{flag} {name} is {what}", "name a file in a folder that is there")
    return path


def exit_status(program: str, task: Json, state: TaskState) -> int:
    """What the command ends with; says on stderr why, where the task did not succeed."""
    return ending.exit_status(program, task, state, failed=FAILED)

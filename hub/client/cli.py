"""The `operis` command: what an operator types, and how it ends."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from cloudsync.errors import Misuse
from cloudsync.task import Origin, TaskState
from cloudsync.terminal import browse as typed
from cloudsync.terminal.ending import OURS, say
from cloudsync.terminal.script import checked, split
from cloudsync.terminal.streams import drop_output, open_streams, why_unwritten
from hub.client import artifacts, boxes, browse, events, run, tasks
from hub.client.address import read_address
from hub.client.errors import ClientError
from hub.client.http import Hub

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
# These end as their task does, so an error of ours must look unlike one.
_ATTENDING: Final = frozenset({"run", "browse"})

Command = Callable[[Hub, argparse.Namespace], int]

_EPILOG: Final = """\
The hub and the key may also be given as OPERIS_HUB and OPERIS_KEY.
Exit status: 0, 1 after an error, 2 for a command line that is wrong.
Of 'run': the task's own; of 'browse': 1 where a step failed.
Of both: 124 timed out; 255 anything of ours, Ctrl-C too."""


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in two lines. `usage_status` is what it ends with."""

    usage_status = USAGE

    def error(self, message: str) -> NoReturn:
        """End with the message and where to read on."""
        self.exit(self.usage_status, f"operis: {message}\nhint: {self.prog} --help shows what is allowed\n")


class _Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"operis {version('operis')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="operis",
        description="Run tasks on boxes and see what becomes of them, through their hub.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument("--hub", metavar="URL", help="the hub's web address, as in http://127.0.0.1:8080")
    parser.add_argument("--key", metavar="K", help="an API key of the hub")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listed = _leaf(commands, "boxes", boxes.boxes, "list boxes")
    listed.add_argument("--status", choices=list(boxes.STATUS_STYLES), help="only boxes with this status")
    listed.add_argument("--name", metavar="NAME", help="only boxes with this name")
    _add_paging(listed)
    _leaf(commands, "box", boxes.box, "show one box").add_argument("box", metavar="BOX")

    _add_run(commands)
    _add_browse(commands)

    listed = _leaf(commands, "tasks", tasks.tasks, "list tasks, the newest first")
    listed.add_argument("--box", metavar="BOX", help="only tasks of this box")
    states = [str(state) for state in TaskState]
    listed.add_argument("--state", choices=states, metavar="STATE", help=f"only tasks that are {', '.join(states)}")
    listed.add_argument("--origin", choices=[str(origin) for origin in Origin], help="only tasks made there")
    _add_paging(listed)
    shown = _leaf(commands, "task", tasks.task, "show one task: where its time went, what it left")
    shown.add_argument("task", metavar="ID")
    shown.add_argument("--artifacts", type=Path, metavar="DIR", help="fetch what it left into this folder")
    shown.add_argument(
        "--wait", dest="wait_s", type=float, default=0.0, metavar="S", help="for what its box still sends (0)"
    )
    linked = _leaf(commands, "link", artifacts.link, "make a link to an artifact, which opens a trace in its viewer")
    linked.add_argument("artifact", metavar="ARTIFACT", help="its id, as 'operis task ID' shows it")
    linked.add_argument("--ttl", dest="ttl_s", type=float, metavar="S", help="seconds it is good (1 hour)")
    _leaf(commands, "cancel", tasks.cancel, "cancel a task").add_argument("task", metavar="ID")

    logs = _leaf(commands, "logs", tasks.logs, "write a task's output, exactly as it was")
    logs.add_argument("task", metavar="ID")
    logs.add_argument("-f", "--follow", action="store_true", help="as it comes, until the task ends")
    logs.add_argument("--stream", choices=["stdout", "stderr", "both"], default="both", help="which of them (both)")

    happened = _leaf(commands, "events", events.events, "print what happens as it does, until Ctrl-C")
    happened.add_argument("--box", metavar="BOX", help="only events of this box")
    happened.add_argument("--task", metavar="ID", help="only events of this task")
    happened.add_argument("--after", type=_count, metavar="N", help="begin after this entry of the ledger; 0 for all")
    happened.add_argument("--limit", type=_positive, metavar="N", help="end after so many")

    _leaf(commands, "fleet", boxes.fleet, "show the fleet in numbers")
    released = _leaf(commands, "release", boxes.release, "let one copy of a quarantined box begin anew")
    released.add_argument("box", metavar="BOX")
    released.add_argument("copy", metavar="COPY", help="the copy's id, as 'operis box BOX' shows it")
    _leaf(commands, "revoke", boxes.revoke, "shut a box out for good").add_argument("box", metavar="BOX")
    return parser


def _leaf(commands: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    description = f"{text[0].upper()}{text[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
    # Where they stand does not matter; what is not given here leaves what was given before the command.
    parser.add_argument("--hub", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--key", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the API's JSON")
    parser.set_defaults(call=command)
    return parser


def _add_paging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_positive, metavar="N", help="how many at most (100)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="all of them, page by page")
    which.add_argument("--cursor", metavar="C", help="the page after this one's")


def _add_run(commands: Any) -> None:
    parser = _leaf(commands, "run", run.run, "run a command on a box and show its output as it comes")
    parser.usage = "operis run BOX [options] -- CMD…"
    parser.epilog = "One argument after -- is a bash script as it is; several are a command and its arguments."
    if isinstance(parser, _Parser):
        parser.usage_status = OURS
    parser.add_argument("box", metavar="BOX")
    parser.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds it may run (60)")
    parser.add_argument(
        "--deliver-within", dest="deliver_within_s", type=float, metavar="S", help="seconds to reach the box (1 day)"
    )
    parser.add_argument("--stdin", metavar="FILE", help="give it this file as its input, - for ours")
    parser.add_argument("--env", action="append", metavar="K=V", help="set an environment variable; may be repeated")
    parser.add_argument("--cwd", metavar="DIR", help="the folder to run in")
    parser.add_argument("--idempotent", action="store_true", help="it may be run again after a crash of the box")
    parser.add_argument(
        "--detach", "--no-wait", dest="detach", action="store_true", help="print the task's id and do not wait"
    )
    parser.add_argument("--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the task")


def _add_browse(commands: Any) -> None:
    parser = _leaf(commands, "browse", browse.browse, "open a page in a browser on a box, and take steps there")
    parser.usage = "operis browse BOX URL [options]"
    if isinstance(parser, _Parser):
        parser.usage_status = OURS
    parser.add_argument("box", metavar="BOX")
    typed.add_flags(parser)
    parser.add_argument(
        "--deliver-within", dest="deliver_within_s", type=float, metavar="S", help="seconds to reach the box (1 day)"
    )
    parser.add_argument(
        "--detach", "--no-wait", dest="detach", action="store_true", help="print the task's id and do not wait"
    )
    parser.add_argument("--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the task")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    number = _count(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not 1 or more")
    return number


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows the first `--` is the command for a box and is not looked at."""
    argv, words = split(checked(argv))
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        # What follows a '=' may be a key.
        shown = " ".join(word.partition("=")[0] if word.startswith("-") else word for word in unknown)
        raise Misuse(f"unrecognized arguments: {shown}", f"operis {arguments.command} --help shows what is allowed")
    if words and arguments.command != "run":
        raise Misuse(
            f"'{arguments.command}' takes nothing after --", f"operis {arguments.command} --help shows its use"
        )
    arguments.words = words
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    open_streams()
    given = sys.argv[1:] if argv is None else argv
    failed = OURS if _command_of(given) in _ATTENDING else FAILED
    try:
        arguments = _parse(given)
        hub_url = arguments.hub or os.environ.get("OPERIS_HUB")
        with Hub(read_address(hub_url, arguments.key or os.environ.get("OPERIS_KEY"))) as hub:
            command: Command = arguments.call
            status = command(hub, arguments)
            sys.stdout.flush()
            return status
    except Misuse as error:
        return _fail(error, OURS if failed == OURS else USAGE)
    except ClientError as error:
        return _fail(error, failed)
    except BrokenPipeError:
        drop_output()
        return failed
    except OSError as error:  # the network's have errors of their own
        drop_output()
        say("operis", why_unwritten(error), "free some space, or send it elsewhere")
        return failed
    except KeyboardInterrupt:
        if failed == OURS:
            print("operis: interrupted before the hub had answered", file=sys.stderr)
            print("hint: 'operis tasks' shows whether the task was made", file=sys.stderr)
            return OURS
        return INTERRUPTED


def _command_of(argv: Sequence[str]) -> str:
    """The command that was typed, where the command line has one: it decides how an error ends."""
    takes_value = False
    for word in argv:
        if not word.startswith("-") and not takes_value:
            return word
        takes_value = word in {"--hub", "--key"}
    return ""


def _fail(error: ClientError | Misuse, status: int) -> int:
    say("operis", str(error), error.hint)
    return status


if __name__ == "__main__":
    sys.exit(main())

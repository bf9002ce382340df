"""The `operis-box` command.

Exit: 0, 1 after an error, 2 for a wrong command line, 3 where no daemon runs. Of `exec`: the task's own; of `browse`:
1 where a step failed; of both: 124 where it timed out, 255 for anything of ours.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from appliance.client.box import PROGRAM, Box
from appliance.errors import NotRunning, OperatorError
from cloudsync.errors import Misuse
from cloudsync.task import Origin, TaskState
from cloudsync.terminal import browse
from cloudsync.terminal.ending import OURS, say
from cloudsync.terminal.script import checked, split
from cloudsync.terminal.streams import drop_output, open_streams, why_unwritten

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3
INTERRUPTED: Final = 130
# These end as their task does, so an error of ours must look unlike one.
_ATTENDING: Final = frozenset({"exec", "browse"})

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    usage_status = USAGE

    def error(self, message: str) -> NoReturn:
        self.exit(self.usage_status, f"{PROGRAM}: {message}\nhint: {self.prog} --help shows what is allowed\n")


class _Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"operis {version('operis')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="A box of an Operis fleet.",
        epilog="Exit status: 0, 1 after an error, 2 for a command line that is wrong, 3 where no daemon runs.\n"
        "Of 'exec': the task's own; of 'browse': 1 where a step failed.\n"
        "Of both: 124 timed out; 255 anything of ours.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = _leaf(commands, "run", _run, "work as a box until a signal (SIGTERM leaves tasks running, SIGINT ends them)")
    run.add_argument("--hub", metavar="URL", help="the hub's relay, as in ws://HOST:8443/relay; remembered")
    run.add_argument("--web", metavar="URL", help="the hub's web address, as in http://HOST:8080; remembered")
    run.add_argument("--enrol", metavar="TOKEN", help="enrol by this token; an enrolled box ignores it")
    run.add_argument("--name", metavar="NAME", help="the name to enrol under (the machine's); remembered")
    run.add_argument("--task-user", metavar="USER", help="run tasks as this user (the daemon's own)")
    run.add_argument("--concurrency", metavar="N", help="how many tasks run at the same time (8)")
    run.add_argument("--verbose", action="store_true", help="log more")

    _add_json(_leaf(commands, "status", _status, "show how the box is; exit status 3 where no daemon runs"))
    _add_exec(commands)
    _add_browse(commands)

    listed = _leaf(commands, "tasks", _tasks, "list tasks, the newest first")
    states = [str(state) for state in TaskState]
    listed.add_argument("--state", choices=states, metavar="STATE", help=f"only tasks that are {', '.join(states)}")
    listed.add_argument("--kind", metavar="KIND", help="only tasks of this kind, as bash.exec")
    listed.add_argument("--origin", choices=[str(origin) for origin in Origin], help="only tasks made there")
    listed.add_argument("--limit", metavar="N", help="how many at most (100)")
    which = listed.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="all of them, page by page")
    which.add_argument("--cursor", metavar="C", help="the page after this one's")
    _add_json(listed)

    shown = _leaf(commands, "task", _task, "show one task, and where its time went")
    shown.add_argument("task", metavar="ID")
    shown.add_argument("--artifacts", metavar="DIR", type=Path, help="put the files that it left into this folder")
    _add_json(shown)

    ended = _leaf(commands, "cancel", _cancel, "cancel a task, whoever made it")
    ended.add_argument("task", metavar="ID")
    _add_json(ended)
    return parser


def _leaf(commands: Any, name: str, call: Command, text: str) -> argparse.ArgumentParser:
    description = text[0].upper() + text[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
    if name in _ATTENDING and isinstance(parser, _Parser):
        parser.usage_status = OURS
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the box's data folder")
    parser.set_defaults(call=call)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_exec(commands: Any) -> None:
    parser = _leaf(commands, "exec", _exec, "run a command and show its output as it comes")
    parser.usage = f"{PROGRAM} exec --data DIR [options] -- CMD…"
    parser.epilog = (
        "One argument after -- is a bash script as it is; several are a command and its arguments; - instead of --: "
        "the script is read from standard input. Ctrl-C ends the task, a second one leaves it running."
    )
    parser.add_argument("script", nargs="?", metavar="-", help="read the script from standard input")
    parser.add_argument("--timeout", dest="timeout_s", type=float, metavar="S", help="seconds it may run (60)")
    parser.add_argument("--stdin", metavar="FILE", help="give it this file as its input, - for ours")
    parser.add_argument("--env", action="append", metavar="K=V", help="set an environment variable; may be repeated")
    parser.add_argument("--cwd", metavar="DIR", help="the folder to run in (the task user's home)")
    parser.add_argument("--idempotent", action="store_true", help="it may be run again after a crash of the box")
    parser.add_argument("--detach", "--no-wait", action="store_true", help="print the task's id and do not wait")
    _add_json(parser)


def _add_browse(commands: Any) -> None:
    parser = _leaf(commands, "browse", _browse, "open a page in a browser, and take steps there")
    parser.usage = f"{PROGRAM} browse --data DIR URL [options]"
    parser.epilog = "Ctrl-C ends the task, a second one leaves it running."
    browse.add_flags(parser)
    parser.add_argument("--detach", "--no-wait", action="store_true", help="print the task's id and do not wait")
    _add_json(parser)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows the first `--` is the command for the box and is not looked at."""
    before, words = split(checked(argv))
    arguments, unknown = _parser().parse_known_args(before)
    if unknown:
        raise Misuse(
            f"unrecognized arguments: {' '.join(unknown)}",
            f"{PROGRAM} {arguments.command} --help shows what is allowed",
        )
    if words and arguments.command != "exec":
        hint = f"{PROGRAM} {arguments.command} --help shows its use"
        raise Misuse(f"'{arguments.command}' takes nothing after --", hint)
    arguments.words = words
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    open_streams()
    given = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in given if not word.startswith("-")), "")
    is_attending = command in _ATTENDING
    failed = OURS if is_attending else FAILED
    try:
        arguments = _parse(given)
        call: Command = arguments.call
        status = call(arguments)
        sys.stdout.flush()
        return status
    except Misuse as error:
        say(PROGRAM, str(error), error.hint)
        return OURS if is_attending else USAGE
    except OperatorError as error:
        say(PROGRAM, str(error), error.hint)
        return NOT_RUNNING if isinstance(error, NotRunning) and not is_attending else failed
    except BrokenPipeError:
        drop_output()
        return failed
    except OSError as error:
        if command == "run":  # a daemon has more to fail at than its output
            raise
        drop_output()
        say(PROGRAM, why_unwritten(error), "free some space, or send it elsewhere")
        return failed
    except KeyboardInterrupt:
        if not is_attending:
            return INTERRUPTED
        say(PROGRAM, "interrupted before the box had answered", f"'{PROGRAM} tasks' shows whether the task was made")
        return OURS


def _exec(arguments: argparse.Namespace) -> int:
    from appliance.client.execute import execute

    return execute(Box(arguments.data), arguments)


def _browse(arguments: argparse.Namespace) -> int:
    from appliance.client.browse import run

    return run(Box(arguments.data), arguments)


def _tasks(arguments: argparse.Namespace) -> int:
    from appliance.client.tasks import tasks

    return tasks(Box(arguments.data), arguments)


def _task(arguments: argparse.Namespace) -> int:
    from appliance.client.tasks import task

    return task(Box(arguments.data), arguments)


def _cancel(arguments: argparse.Namespace) -> int:
    from appliance.client.tasks import cancel

    return cancel(Box(arguments.data), arguments)


def _run(arguments: argparse.Namespace) -> int:
    from appliance import daemon, logs
    from appliance.settings import load

    logs.configure(verbose=arguments.verbose)
    names = ("hub", "web", "enrol", "name", "task_user", "concurrency")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    settings = load({"data": arguments.data, **given})
    return daemon.run(arguments.data, settings)


def _status(arguments: argparse.Namespace) -> int:
    try:
        answer = Box(arguments.data).get("/status")
    except NotRunning:
        from appliance.status import of_folder

        answer = of_folder(arguments.data)
    if arguments.json:
        print(json.dumps(answer))
    else:
        from appliance.status_page import page

        print(page(answer))
    return OK if answer["running"] else NOT_RUNNING


if __name__ == "__main__":
    sys.exit(main())

"""The `operis-box` command. Exit: 0, 1 after an error, 2 for a wrong command line, 3 where no daemon runs (status)."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

OK: Final = 0
# As in `errors`, which a command line that is wrong need not load.
FAILED: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"operis-box: {message}\nhint: {self.prog} --help shows what is allowed\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="operis-box", description="A box of an Operis fleet.")
    parser.add_argument("--version", action="version", version=f"operis {version('operis')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = _leaf(commands, "run", _run, "work as a box until a signal (SIGTERM leaves tasks running, SIGINT ends them)")
    run.add_argument("--hub", metavar="URL", help="the hub's relay, as in ws://HOST:8443/relay; remembered")
    run.add_argument("--web", metavar="URL", help="the hub's web address, as in http://HOST:8080; remembered")
    run.add_argument("--enrol", metavar="TOKEN", help="enrol by this token; an enrolled box ignores it")
    run.add_argument("--name", metavar="NAME", help="the name to enrol under (the machine's); remembered")
    run.add_argument("--task-user", metavar="USER", help="run tasks as this user (the daemon's own)")
    run.add_argument("--concurrency", metavar="N", help="how many tasks run at the same time (8)")
    run.add_argument("--verbose", action="store_true", help="log more")

    status = _leaf(commands, "status", _status, "show how the box is; exit status 3 where no daemon runs")
    status.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _leaf(commands: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the box's data folder")
    parser.set_defaults(run=run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    run: Command = arguments.run
    from appliance.errors import OperatorError
    from appliance.spawn import SpawnerError

    try:
        return run(arguments)
    except (OperatorError, SpawnerError) as error:
        print(f"operis-box: {error}", f"hint: {error.hint}", sep="\n", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        return FAILED


def _run(arguments: argparse.Namespace) -> int:
    from appliance import daemon, logs
    from appliance.settings import load

    logs.configure(verbose=arguments.verbose)
    names = ("hub", "web", "enrol", "name", "task_user", "concurrency")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    settings = load({"data": arguments.data, **given})
    return daemon.run(arguments.data, settings)


def _status(arguments: argparse.Namespace) -> int:
    from appliance.local_client import ask

    answer = ask(arguments.data, "/status")
    if answer is None:
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

"""The `operis-hub` command: serve, and the admin commands that work beside it."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

from hub import tenancy
from hub.errors import HubError, Refusal, StartError
from hub.store import Connection, Row, open_database, transact

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"operis-hub: {message}\nhint: {self.prog} --help shows what is allowed\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="operis-hub", description="The hub of a fleet of Operis boxes.")
    parser.add_argument("--version", action="version", version=f"operis {version('operis')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = _leaf(commands, "serve", _serve, "accept boxes and serve the API")
    serve.add_argument("--relay", metavar="HOST:PORT", help="where boxes and consoles connect (127.0.0.1:8443)")
    serve.add_argument("--web", metavar="HOST:PORT", help="where the API and the page are (127.0.0.1:8080)")
    serve.add_argument("--verbose", action="store_true", help="log more")

    admin_key = _leaf(commands, "admin-key", _admin_key, "print the platform admin's key")
    admin_key.add_argument("--rotate", action="store_true", help="replace it")

    customer = _group(commands, "customer", "customers")
    add = _leaf(customer, "add", _customer_add, "add a customer")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--plan", default=tenancy.DEFAULT_PLAN, choices=list(tenancy.PLAN_BOXES))
    _leaf(customer, "list", _customer_list, "list customers")
    _leaf(customer, "revoke", _customer_revoke, "shut a customer out").add_argument("name", metavar="NAME")

    key = _group(commands, "key", "API keys")
    add = _leaf(key, "add", _key_add, "make a key and print it; it is never shown again")
    add.add_argument("--customer", required=True, metavar="NAME")
    add.add_argument("--role", required=True, choices=[str(role) for role in tenancy.CUSTOMER_ROLES])
    _leaf(key, "list", _key_list, "list keys by id").add_argument("--customer", metavar="NAME")
    _leaf(key, "revoke", _key_revoke, "revoke a key").add_argument("id", metavar="KEY-ID")

    token = _group(commands, "token", "enrolment tokens")
    add = _leaf(token, "add", _token_add, "make a token and print it; it is never shown again")
    add.add_argument("--customer", required=True, metavar="NAME")
    add.add_argument("--uses", type=int, default=1, metavar="N", help="how many boxes may enrol by it (1)")
    add.add_argument(
        "--ttl", type=float, default=tenancy.TOKEN_TTL_S, metavar="S", help="seconds it is good for (7 days)"
    )
    add.add_argument("--box", metavar="BOX", help="re-enrol this box on other hardware")
    _leaf(token, "list", _token_list, "list tokens by id").add_argument("--customer", metavar="NAME")
    _leaf(token, "revoke", _token_revoke, "revoke a token").add_argument("id", metavar="TOKEN-ID")
    return parser


def _group(commands: Any, name: str, text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=f"Manage {text}.")
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def _leaf(commands: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the hub's data folder")
    if name != "serve":
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 1 after an error, 2 for a command line that is wrong."""
    arguments = _parser().parse_args(argv)
    run: Command = arguments.run
    try:
        return run(arguments)
    except Refusal as refusal:
        allowed = "; ".join(f"{each['field']}: {each['allowed']}" for each in refusal.errors or () if "allowed" in each)
        # The hint to a wrong field is written for callers of the API.
        hint = f"'operis-hub {arguments.command} --help' shows what is allowed" if refusal.errors else refusal.hint
        return _fail(refusal.detail, f"allowed: {allowed}" if allowed else hint)
    except StartError as error:
        return _fail(str(error), error.hint)
    except HubError as error:
        return _fail(str(error), "free disk space if there is none, then try again")
    except BrokenPipeError:
        return FAILED


def _fail(message: str, hint: str) -> int:
    print(f"operis-hub: {message}", *([f"hint: {hint}"] if hint else []), sep="\n", file=sys.stderr)
    return FAILED


def _serve(arguments: argparse.Namespace) -> int:
    from hub.serve import prepare_folder, serve
    from hub.settings import load

    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("hub.websockets").setLevel(logging.WARNING)
    prepare_folder(arguments.data)
    flags = {name: value for name in ("relay", "web") if (value := getattr(arguments, name)) is not None}
    return serve(arguments.data, load(arguments.data, flags))


def _database(data: Path) -> Connection:
    """The hub's database; it is made where the folder is new, so that a hub can be set up before it first serves."""
    from hub.serve import DATABASE, prepare_folder

    prepare_folder(data)
    return open_database(data / DATABASE)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _admin_key(arguments: argparse.Namespace) -> int:
    from hub.adminkey import ensure_admin_key, rotate_admin_key

    connection = _database(arguments.data)
    make = rotate_admin_key if arguments.rotate else ensure_admin_key
    return _print(arguments, {"key": make(arguments.data, connection)}, "key")


def _customer_add(arguments: argparse.Namespace) -> int:
    row = transact(_database(arguments.data), lambda c: tenancy.add_customer(c, arguments.name, arguments.plan, _now()))
    return _print(arguments, dict(row), "name")


def _customer_list(arguments: argparse.Namespace) -> int:
    return _table(arguments, "SELECT name, id, plan, created_at, revoked_at FROM customers ORDER BY name", ())


def _customer_revoke(arguments: argparse.Namespace) -> int:
    row = transact(_database(arguments.data), lambda c: tenancy.revoke_customer(c, arguments.name, _now()))
    return _print(arguments, dict(row), "name")


def _key_add(arguments: argparse.Namespace) -> int:
    row, key = transact(
        _database(arguments.data), lambda c: tenancy.add_key(c, arguments.customer, arguments.role, _now())
    )
    return _print(arguments, _public(row) | {"key": key}, "key")


def _key_list(arguments: argparse.Namespace) -> int:
    query = """SELECT k.id, coalesce(c.name, '(platform)') AS customer, k.role, k.created_at, k.revoked_at
        FROM keys k LEFT JOIN customers c ON c.id = k.customer_id
        WHERE ?1 IS NULL OR c.name = ?1 ORDER BY k.created_at"""
    return _table(arguments, query, (arguments.customer,))


def _key_revoke(arguments: argparse.Namespace) -> int:
    row = transact(_database(arguments.data), lambda c: tenancy.revoke_key(c, arguments.id, None, _now()))
    return _print(arguments, _public(row), "id")


def _token_add(arguments: argparse.Namespace) -> int:
    row, token = transact(
        _database(arguments.data),
        lambda c: tenancy.add_token(c, arguments.customer, arguments.uses, arguments.ttl, arguments.box, _now()),
    )
    return _print(arguments, _public(row) | {"token": token}, "token")


def _token_list(arguments: argparse.Namespace) -> int:
    query = """SELECT t.id, c.name AS customer, t.uses_left, t.box_id, t.created_at, t.expires_at, t.revoked_at
        FROM tokens t JOIN customers c ON c.id = t.customer_id WHERE ?1 IS NULL OR c.name = ?1 ORDER BY t.created_at"""
    return _table(arguments, query, (arguments.customer,))


def _token_revoke(arguments: argparse.Namespace) -> int:
    row = transact(_database(arguments.data), lambda c: tenancy.revoke_token(c, arguments.id, None, _now()))
    return _print(arguments, _public(row), "id")


def _public(row: Row) -> dict[str, Any]:
    return {name: value for name, value in dict(row).items() if name != "hash"}


def _print(arguments: argparse.Namespace, values: dict[str, Any], alone: str) -> int:
    """Print one thing: all of it as JSON, else the one value that a script wants."""
    print(json.dumps(_with_times(values)) if arguments.json else values[alone])
    return OK


def _table(arguments: argparse.Namespace, query: str, values: tuple[Any, ...]) -> int:
    connection = _database(arguments.data)
    if getattr(arguments, "customer", None) is not None:
        values = (tenancy.find_customer(connection, arguments.customer)["name"],)
    rows = [_with_times(dict(row)) for row in connection.execute(query, values)]
    if arguments.json:
        print(json.dumps({"items": rows, "next": None}))
        return OK
    if not rows:
        print("none", file=sys.stderr)
        return OK
    names = list(rows[0])
    texts = [names, *([str(row[name]) if row[name] is not None else "-" for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(names))]
    for line in texts:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return OK


def _with_times(values: dict[str, Any]) -> dict[str, Any]:
    from cloudsync.view import when

    return {name: when(value) if name.endswith("_at") else value for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())

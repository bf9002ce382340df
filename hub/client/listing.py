"""Lists of the API, by page or whole, as JSON or for people."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hub.client.http import Hub

# The most that the API gives at once.
LIST_LIMIT: Final = 500

Items = list[dict[str, Any]]


def print_list(
    hub: Hub,
    arguments: argparse.Namespace,
    path: str,
    filters: Mapping[str, str | None],
    show: Callable[[Hub, Items], None],
) -> int:
    """Print one page, or with `--all` every page. JSON is always one object `{"items": […], "next": …}`."""
    if arguments.all:
        found = hub.items(path, {**filters, "limit": LIST_LIMIT})
        if arguments.json:
            _print_whole(found)
        else:
            _print_for_people(hub, list(found), show)
        return 0
    page = hub.page(path, {**filters, "limit": arguments.limit, "cursor": arguments.cursor})
    if arguments.json:
        print(json.dumps(page))
        return 0
    _print_for_people(hub, page["items"], show)
    if page.get("next") is not None:
        print(f"there are more: --all, or --cursor {page['next']}", file=sys.stderr)
    return 0


def _print_whole(found: Iterable[dict[str, Any]]) -> None:
    """Written item by item, so that a long list needs little memory."""
    before = '{"items": ['
    for item in found:
        sys.stdout.write(before + json.dumps(item))
        before = ", "
    sys.stdout.write(('{"items": [' if before != ", " else "") + '], "next": null}\n')


def _print_for_people(hub: Hub, found: Items, show: Callable[[Hub, Items], None]) -> None:
    if found:
        show(hub, found)
    else:
        print("none", file=sys.stderr)

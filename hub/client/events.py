"""`operis events`: what happens, as the ledger records it, across broken connections."""

import argparse
import json
import queue
import time
from typing import Any, Final

from cloudsync.terminal import times
from cloudsync.terminal.status_line import Reason, StatusLine
from cloudsync.terminal.stream import ServerEvent
from cloudsync.terminal.table import plain
from hub.client.errors import ClientError, Unreachable
from hub.client.follow import GIVE_UP_S, RETRY_S, Events, is_passing
from hub.client.http import PROGRAM, Hub

# Only so that Ctrl-C is heard at once.
_TICK_S: Final = 3600.0


def events(hub: Hub, arguments: argparse.Namespace) -> int:
    """Print entries as they come, one a line, until Ctrl-C or as many as `--limit` says."""
    status = StatusLine(PROGRAM)
    after: int | None = arguments.after
    printed = failures = 0
    broken_since: float | None = None
    known = False
    while True:
        query = {"box_id": arguments.box, "task_id": arguments.task, "after": after}
        reader = Events(hub, "events", query)
        while isinstance(item := _next(reader), ServerEvent):
            broken_since, failures = None, 0
            status.clear()
            after = int(item.id) if item.id.isdigit() else after
            print(item.data if arguments.json else _line(hub, item), flush=True)
            printed += 1
            if printed == arguments.limit:
                return 0
        now = time.monotonic()
        broken_since = broken_since or now
        known = known or reader.opened
        if item is not None:
            # A hub that has never answered is rather mistyped than away.
            if not known or not is_passing(item):
                raise item
            if now - broken_since > GIVE_UP_S:
                hint = "" if after is None else f"'operis events --after {after}' goes on where this ended"
                raise Unreachable(str(item), hint) from item
            status.show(Reason("unreachable", f"{item}; trying again"))
        time.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
        failures += 1


def _next(reader: Events) -> ServerEvent | ClientError | None:
    while True:
        try:
            return reader.items.get(timeout=_TICK_S)
        except queue.Empty:
            continue


def _line(hub: Hub, event: ServerEvent) -> str:
    try:
        entry: dict[str, Any] = json.loads(event.data)
        detail = entry.get("detail") or {}
        words = [str(entry.get("state") or entry["type"])]
        if entry.get("task_id"):
            words.append(f"task {entry['task_id']}")
        words += [str(text) for text in (detail.get("why"), detail.get("message")) if text]
        return plain(f"{entry['n']:>8}  {times.clock(entry.get('at'))}  {entry.get('box_id')}  {'  '.join(words)}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise hub.no_hub("sent an event that cannot be read") from error

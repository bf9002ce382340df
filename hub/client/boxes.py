"""The commands about boxes: `boxes`, `box`, `fleet`, `release`, `revoke`."""

import argparse
import json
from typing import Any, Final

from cloudsync.terminal import times
from cloudsync.terminal.size import size
from cloudsync.terminal.table import Column, print_fields, print_table
from hub.client.errors import ClientError, Refused
from hub.client.http import Hub, segment
from hub.client.listing import LIST_LIMIT, print_list

STATUS_STYLES: Final = {
    "connected": "green",
    "never": "dim",
    "stale": "yellow",
    "lost": "red",
    "quarantined": "bold red",
    "revoked": "dim",
}


def boxes(hub: Hub, arguments: argparse.Namespace) -> int:
    """List boxes."""
    return print_list(hub, arguments, "boxes", {"status": arguments.status, "name": arguments.name}, _print_boxes)


def _print_boxes(hub: Hub, found: list[dict[str, Any]]) -> None:
    now = hub.now()
    several = len({box.get("customer") for box in found}) > 1
    named = any(box.get("name") != box.get("id") for box in found)
    troubled = any(box.get("why") for box in found)
    columns = [
        Column("BOX", whole=True),
        *([Column("CUSTOMER")] if several else []),
        Column("STATUS", whole=True, styles=STATUS_STYLES),
        Column("SEEN", whole=True),
        Column("QUEUED", right=True, whole=True),
        Column("RUNNING", right=True, whole=True),
        *([Column("NAME")] if named else []),
        *([Column("WHY")] if troubled else []),
    ]
    rows = []
    for box in found:
        queue = box.get("queue") or {}
        rows.append(
            [
                str(box.get("id")),
                *([str(box.get("customer"))] if several else []),
                str(box.get("status")),
                times.age(box.get("last_seen_at"), now),
                str(queue.get("queued", "-")),
                str(queue.get("running", "-")),
                *([str(box.get("name"))] if named else []),
                *([str(box.get("why") or "")] if troubled else []),
            ]
        )
    print_table(columns, rows)


def box(hub: Hub, arguments: argparse.Namespace) -> int:
    """Show one box."""
    return _show(hub, arguments, _call(hub, arguments.box))


def release(hub: Hub, arguments: argparse.Namespace) -> int:
    """Let one copy of a quarantined box begin anew."""
    return _show(hub, arguments, _call(hub, arguments.box, "release", {"copy_id": arguments.copy}))


def revoke(hub: Hub, arguments: argparse.Namespace) -> int:
    """Shut a box out for good."""
    return _show(hub, arguments, _call(hub, arguments.box, "revoke"))


def _call(hub: Hub, box_id: str, action: str | None = None, body: dict[str, Any] | None = None) -> dict[str, Any]:
    path = f"boxes/{segment(box_id, 'box')}"
    try:
        return hub.named("box", hub.get(path) if action is None else hub.post(f"{path}/{action}", body))
    except Refused as refused:
        raise with_near_names(hub, refused, box_id) from refused


def _show(hub: Hub, arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    if arguments.json:
        print(json.dumps(found))
        return 0
    now = hub.now()
    queue = found.get("queue") or {}
    seen = found.get("last_seen_at")
    name = found.get("name")
    print_fields(
        [
            ("box", str(found.get("id"))),
            ("name", str(name) if name != found.get("id") else ""),
            ("customer", str(found.get("customer") or "")),
            ("status", " ".join([str(found.get("status")), *([f"({found['why']})"] if found.get("why") else [])])),
            ("last seen", times.age(seen, now) + (f" ({times.clock(seen)})" if seen else "")),
            ("enrolled", times.clock(found.get("enrolled_at"))),
            ("tags", ", ".join(map(str, found.get("tags") or []))),
            ("tasks", f"{queue.get('queued', '-')} queued, {queue.get('running', '-')} running"),
            ("inventory", _facts(found.get("inventory"))),
            ("health", _facts(found.get("health"))),
            ("copies", "\n".join(_copy(one, now) for one in found.get("copies") or [])),
        ]
    )
    copies = found.get("copies") or []
    if copies and found.get("status") == "quarantined":
        print(f"\n'operis release {found.get('id')} COPY' lets one copy begin anew; the others stay shut out.")
    return 0


def _facts(values: Any) -> str:
    if not isinstance(values, dict):
        return ""
    return "\n".join(_fact(str(name), value) for name, value in values.items())


def _fact(name: str, value: Any) -> str:
    """One fact on a line, sizes in the unit that suits them."""
    words = name.removesuffix("_kb").removesuffix("_bytes").removesuffix("_s").replace("_", " ")
    match value:
        case int() | float() if name.endswith("_kb"):
            shown = size(value * 1024)
        case int() | float() if name.endswith("_bytes"):
            shown = size(value)
        case int() | float() if name.endswith("_s"):
            shown = times.coarse(value)
        case dict():
            shown = ", ".join(f"{key} {each}" for key, each in value.items())
        case list():
            shown = ", ".join(map(str, value))
        case _:
            shown = str(value)
    return f"{words}: {shown}"


def _copy(one: dict[str, Any], now: float) -> str:
    hardware = f", hardware {one['hwid']}" if one.get("hwid") else ""
    return f"{one.get('copy_id')}: {one.get('why')}, seen {times.age(one.get('seen_at'), now)}{hardware}"


def fleet(hub: Hub, arguments: argparse.Namespace) -> int:
    """Show the fleet in numbers."""
    found = hub.get("fleet")
    if not isinstance(found.get("boxes"), dict):
        raise hub.no_hub("answered with JSON that is no fleet")
    if arguments.json:
        print(json.dumps(found))
        return 0
    boxes_by, tasks_by = found["boxes"], found.get("tasks") or {}
    rows = [["boxes", str(status), str(count)] for status, count in boxes_by.items()]
    rows += [["tasks", str(state), str(count)] for state, count in tasks_by.items()]
    columns = [Column("OF"), Column("WHAT", styles=STATUS_STYLES), Column("COUNT", right=True, whole=True)]
    print_table(columns, rows)
    return 0


def with_near_names(hub: Hub, refused: Refused, box_id: str) -> Refused:
    """The same refusal; where the box is unknown, with ids that look like what was typed."""
    if refused.status != 404:
        return refused
    try:
        found = hub.page("boxes", {"limit": LIST_LIMIT})["items"]
    except ClientError:
        # The refusal itself is what the operator must see.
        return refused
    import difflib

    near = [str(box.get("id")) for box in found if box.get("name") == box_id]
    near = near or difflib.get_close_matches(box_id, [str(box.get("id")) for box in found])
    if not near:
        return refused
    return Refused(404, str(refused), f"did you mean {' or '.join(near)}? 'operis boxes' lists them")

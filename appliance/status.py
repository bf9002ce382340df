"""What `operis-box status` shows: gathered in the daemon, or read from the folder where none runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite3

from appliance import health
from appliance.engine import Engine
from appliance.errors import FolderUnusable
from appliance.folder import free_bytes
from appliance.identity import Enrolment
from appliance.uplink import LinkState, Uplink


def of_daemon(engine: Engine, uplink: Uplink, started_ms: int) -> dict[str, Any]:
    """The whole status of a running daemon. Times are Unix ms."""
    executor = engine.executor
    link = {**asdict(uplink.status), "hub_url": engine.enrolment.hub_url, "session": uplink.session}
    return {
        "running": True,
        "box_id": engine.enrolment.box_id,
        "name": engine.enrolment.name,
        "hub": engine.enrolment.hub,
        "customer": engine.enrolment.customer,
        "started_ms": started_ms,
        "link": link,
        "incarnation": engine.incarnation,
        "queue": {"queued": len(executor.waiting), "running": len(executor.running)},
        "concurrency": executor.limits.concurrency,
        "unsynced_events": engine.outbox.unsynced,
        "artifacts": {
            "unsent": executor.artifacts.unsent(),
            "used_bytes": executor.artifacts.used_bytes,
            "problem": uplink.uploader.problem,
        },
        "browser": executor.browsing.supervisor.status(),
        "disk": {"free_bytes": free_bytes(engine.folder.path), "floor_bytes": executor.limits.disk_floor_bytes},
        "data": str(engine.folder.path),
        "versions": health.versions(),
        "warnings": _warnings(engine, uplink),
    }


def _warnings(engine: Engine, uplink: Uplink) -> list[str]:
    warnings = []
    executor = engine.executor
    if engine.journal.damaged is not None:
        warnings.append(f"{engine.journal.damaged}: what it held of unfinished tasks is lost, a new incarnation began")
    if executor.hub_work_held:
        warnings.append("tasks that the hub made are not started until the hub takes this box again")
    refusal = engine.intake.refusal()
    if refusal is not None:
        warnings.append(f"no task is accepted: {refusal.message}")
    if executor.spawner is None:
        warnings.append("no spawner runs: tasks wait until one can be had")
    warnings.extend(executor.browsing.supervisor.warnings())
    if uplink.status.state is LinkState.UNWANTED:
        warnings.append(f"the hub does not take this box: {uplink.status.error}")
    return warnings


def of_folder(data: Path) -> dict[str, Any]:
    """What the folder says where no daemon runs in it; `FolderUnusable` where it is no box's."""
    journal = data / "journal.db"
    if not journal.exists():
        raise FolderUnusable(f"{data} is not the data folder of a box", "Name one with --data, or start a box in it.")
    remembered = Enrolment.load(data / "enrolment.json")
    try:
        connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        counts = dict(connection.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall())
        newest = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        connection.close()
    except sqlite3.DatabaseError as error:
        hint = "Start the box: a journal that is damaged is moved aside, and the box begins a new incarnation."
        raise FolderUnusable(f"the journal in {data} cannot be read: {error}", hint) from error
    return {
        "running": False,
        "box_id": remembered.box_id,
        "name": remembered.name,
        "hub": remembered.hub,
        "customer": remembered.customer,
        "link": {"state": LinkState.STOPPED.value, "hub_url": remembered.hub_url, "session": meta.get("session", 0)},
        "incarnation": meta.get("incarnation", ""),
        "queue": {"queued": counts.get("accepted", 0), "running": counts.get("running", 0)},
        "unsynced_events": max(0, newest - meta.get("acked_event_seq", 0)),
        "disk": {"free_bytes": free_bytes(data)},
        "data": str(data),
        "versions": health.versions(),
        "warnings": [],
    }

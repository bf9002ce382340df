"""A task as the local API shows it: the JSON of the public contract, as far as a box knows it."""

import json
from collections.abc import Mapping
from typing import Any

from appliance.engine import Engine
from appliance.live import now_ms
from cloudsync.task import FINAL, Delivery, Origin
from cloudsync.view import instant, outcome_fields, when


def task(engine: Engine, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the journal with its `outcome`. A box knows no `deliver_by`, nor when its hub stored what it has."""
    spec = json.loads(row["spec"])
    live = engine.executor.tasks.get(row["id"])
    started_at = row["started_at"] if live is None or live.started_at_ms is None else live.started_at_ms
    outcome = json.loads(row["outcome"]) if row["outcome"] else {}
    named = outcome.get("artifacts")
    is_final = row["state"] in FINAL
    fields = outcome_fields(outcome)
    if live is not None and live.steps:  # what has ended of a task that has not
        steps = [live.steps[index].model_dump(mode="json") for index in sorted(live.steps)]
        fields["result"] = {"steps": steps}
    if fields["error"] is None and row["error_code"]:  # the outcome is no longer kept
        fields["error"] = {"code": row["error_code"], "message": "what it said is no longer kept", "hint": ""}
    return {
        "id": row["id"],
        "box_id": engine.enrolment.box_id,
        "kind": spec.get("kind", "bash.exec"),
        "spec": spec,
        "origin": row["origin"],
        "created_by": row["created_by"],
        "state": row["state"],
        "delivery": str(Delivery.CONFIRMED),
        "attempt": row["attempt"],
        "created_at": instant(row["created_at"]),
        "deliver_by": None,
        "delivered_at": when(row["accepted_at"] if row["origin"] == Origin.HUB else row["created_at"]),
        "accepted_at": when(row["accepted_at"]),
        "started_at": when(started_at),
        "ended_at": when(row["ended_at"]),
        "synced_at": None,
        "exit_code": row["exit_code"],
        **fields,
        "artifacts": [artifact(one) for one in engine.executor.artifacts.of_task(row["id"])] if named else [],
        "known_as_of": instant(row["ended_at"] if is_final and row["ended_at"] else now_ms()),
        "synced": is_final and row["final_seq"] is not None and row["final_seq"] <= engine.outbox.acked,
    }


def artifact(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the store. `state`: pending, stored (the hub has it), lost; `here`: the box has its bytes."""
    shown = {name: row[name] for name in ("id", "name", "media_type", "size_bytes", "sha256")}
    state = "pending" if row["state"] == "kept" else row["state"]
    return {**shown, "state": state, "why": row["why"], "here": bool(row["here"])}

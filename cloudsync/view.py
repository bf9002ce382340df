"""What hub and box show alike of a task: its times and what came of it, as the public contract has them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any


def when(at_ms: int | None) -> str | None:
    """RFC 3339 UTC with milliseconds and Z."""
    return None if at_ms is None else instant(at_ms)


def instant(at_ms: int) -> str:
    """RFC 3339 UTC with milliseconds and Z, of a time that is there."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """The times of a task lie close together: formatting them was a twentieth of the hub's CPU a task."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def outcome_fields(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a task's JSON that its outcome gives; empty while there is none."""
    stdout, stderr = outcome.get("stdout", {}), outcome.get("stderr", {})
    result = dict(outcome.get("result") or {})
    if outcome.get("usage"):
        result["usage"] = outcome["usage"]
    return {
        "stdout": stdout.get("text", ""),
        "stderr": stderr.get("text", ""),
        "truncated": bool(stdout.get("cut_bytes") or stderr.get("cut_bytes")),
        "error": {"hint": ""} | outcome["error"] if outcome.get("error") else None,
        "result": result or None,
    }

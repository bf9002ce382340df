"""The real k6 with `packaging/load/relay.js` against the relay: 100 consoles on 10 boxes, every answer a success."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.system.plant import CUSTOMER, Plant
from tests.system.program import BIN, ROOT

BOXES: Final = 10
# Half a minute where the documented form takes seven.
STAGES: Final = {"UP_S": 8, "HOLD_S": 15, "DOWN_S": 7}
# The stages, and what the last users may still wait for.
LIMIT_S: Final = 110.0
THRESHOLD_MISSED: Final = 99


def run_k6(plant: Plant, folder: Path, **settings: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the metrics of k6's summary, and what it said."""
    summary = folder / "summary.json"
    key = str(plant.platform.post("keys", {"customer": CUSTOMER, "role": "operator"})["key"])
    given = {"RELAY": plant.relay_url, **settings}
    done = subprocess.run(
        [
            BIN / "k6",
            "run",
            "--address=",
            "--no-usage-report",
            "--no-color",
            "--quiet",
            f"--summary-export={summary}",
            *(word for name, value in given.items() for word in ("-e", f"{name}={value}")),
            ROOT / "packaging" / "load" / "relay.js",
        ],
        # The key goes by the environment, which other users of the machine cannot read.
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "API_KEY": key},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = done.stdout + done.stderr
    assert key not in said
    metrics: dict[str, Any] = json.loads(summary.read_text())["metrics"] if summary.exists() else {}
    return done.returncode, metrics, said


@pytest.mark.alone
def test_a_hundred_users_on_ten_boxes_get_a_success_for_every_command(hub_plant: Plant, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hub_plant.start_box, [f"box-{number}" for number in range(1, BOXES + 1)]))
    status, metrics, said = run_k6(hub_plant, tmp_path, BOXES=BOXES, USERS=100, **STAGES)
    assert status == 0, said
    sent = metrics["commands_sent"]["count"]
    assert sent >= 100 * 10, said
    assert metrics["answers_received"]["count"] == sent
    assert (metrics["ws_msgs_sent"]["count"], metrics["ws_msgs_received"]["count"]) == (sent, sent)
    assert metrics["answers_failed"]["count"] == 0
    assert metrics["commands_unanswered"]["count"] == 0
    assert metrics["checks"]["fails"] == 0
    assert metrics["vus"]["max"] == 100
    ended = {one["state"] for one in hub_plant.api().items("tasks")}
    assert ended == {"succeeded"}
    assert len(hub_plant.api().items("tasks")) == sent


def test_a_relay_that_refuses_a_console_makes_the_load_test_fail(plant: Plant, tmp_path: Path) -> None:
    # There is no box-2.
    status, metrics, said = run_k6(plant, tmp_path, BOXES=2, USERS=2, UP_S=1, HOLD_S=1, DOWN_S=1)
    assert status == THRESHOLD_MISSED, said
    assert metrics["checks"]["fails"] > 0

"""What a box says of its machine."""

import json
from pathlib import Path

from appliance import health


def test_the_pulse_has_figures_that_can_be(tmp_path: Path) -> None:
    pulse = health.pulse(tmp_path)
    assert 0 < pulse["memory_available_kb"] <= pulse["memory_total_kb"]
    assert pulse["disk_free_bytes"] > 0
    assert 1000 < pulse["daemon_rss_kb"] < pulse["memory_total_kb"]
    assert pulse["uptime_s"] > 0
    assert len(pulse["load"]) == 3
    assert len(json.dumps(pulse)) < 1024


def test_the_inventory_says_what_the_box_is_made_of(tmp_path: Path) -> None:
    inventory = health.inventory(tmp_path)
    assert inventory["cpus"] >= 1
    assert inventory["hostname"]
    assert inventory["disk_total_bytes"] > 0
    assert {"operis", "python", "sqlite"} == inventory["versions"].keys()
    assert len(json.dumps(inventory)) < 4096

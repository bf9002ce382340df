"""The status of a box on a terminal."""

from typing import Any

from appliance.status_page import WIDTH, page

STATUS: dict[str, Any] = {
    "running": True,
    "box_id": "box-1",
    "customer": "acme",
    "link": {"state": "waiting", "hub_url": "ws://hub:8443/relay", "since_ms": 0, "next_retry_ms": 3_671_000},
    "queue": {"queued": 2, "running": 1},
    "unsynced_events": 7,
    "artifacts": {"unsent": 2, "used_bytes": 3 * 1024**2, "problem": "no room"},
    "disk": {"free_bytes": 3 * 1024**3},
    "data": "/var/lib/box",
    "versions": {"operis": "1", "python": "3"},
    "warnings": [],
}


def test_each_fact_has_its_line() -> None:
    lines = dict(line.split(maxsplit=1) for line in page(STATUS, 3600.0).splitlines())
    assert lines["box"] == "box-1"
    assert lines["daemon"] == "running"
    assert lines["hub"] == "ws://hub:8443/relay, customer acme"
    assert lines["link"] == "waiting for 1 h 0 min, next attempt in 1 min 11 s"
    assert lines["tasks"] == "1 running, 2 waiting"
    assert lines["unsynced"] == "7 events the hub does not have yet"
    assert lines["artifacts"] == "3.0 MiB kept, 2 the hub does not have yet: no room"
    assert lines["disk"] == "3.0 GiB free"


def test_it_fits_the_terminal_however_much_there_is_to_say() -> None:
    link = {**STATUS["link"], "error": "it went wrong " * 30, "hint": "do something " * 30}
    text = page({**STATUS, "link": link, "warnings": ["beware " * 40, "and beware " * 40]}, 90_000.0)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "1 d 1 h" in text


def test_a_box_without_a_hub_says_so() -> None:
    status = {**STATUS, "running": False, "box_id": None, "customer": None, "link": {"state": "stopped"}}
    text = page({**status, "unsynced_events": 0}, 0.0)
    assert "not enrolled" in text
    assert "not running" in text
    assert "none" in text


def test_a_browser_is_told_with_its_version_memory_and_sandbox() -> None:
    browser = {"state": "ready", "version": "156.0.1", "memory_mib": 300, "sandbox": True}
    assert "browser   ready: Chromium 156.0.1, 300 MiB, sandbox on" in page({**STATUS, "browser": browser}, 0.0)
    off = page({**STATUS, "browser": {**browser, "sandbox": False}}, 0.0)
    assert "sandbox off" in off
    assert "browser   not started" in page({**STATUS, "browser": {"state": "not started"}}, 0.0)

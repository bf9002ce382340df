"""The status of a box for people, on a few short lines."""

import textwrap
import time
from typing import Any, Final

WIDTH: Final = 80
_LABEL: Final = 10


def page(status: dict[str, Any], now_s: float | None = None) -> str:
    """The lines to print. `now_s` is Unix time, by default the present."""
    now = time.time() if now_s is None else now_s
    link = status["link"]
    lines = [
        _line("box", status["box_id"] or "not enrolled"),
        _line("daemon", "running" if status["running"] else "not running"),
        _line("hub", _hub(status)),
        _line("link", _link(link, now)),
    ]
    if link.get("error"):
        lines.append(_line("error", link["error"]))
    if link.get("hint"):
        lines.append(_line("hint", link["hint"]))
    queue = status["queue"]
    lines.append(_line("tasks", f"{queue['running']} running, {queue['queued']} waiting"))
    if "browser" in status:
        lines.append(_line("browser", _browser(status["browser"])))
    unsynced = status["unsynced_events"]
    lines.append(_line("unsynced", f"{unsynced} events the hub does not have yet" if unsynced else "nothing"))
    if "artifacts" in status:
        lines.append(_line("artifacts", _artifacts(status["artifacts"])))
    lines.append(_line("disk", f"{status['disk']['free_bytes'] / 1024**3:.1f} GiB free"))
    lines.append(_line("data", status["data"]))
    lines.append(_line("versions", ", ".join(f"{name} {text}" for name, text in status["versions"].items())))
    lines.extend(_line("warning", text) for text in status["warnings"])
    return "\n".join(lines)


def _hub(status: dict[str, Any]) -> str:
    url = status["link"].get("hub_url")
    if url is None:
        return "none"
    return f"{url}, customer {status['customer']}" if status["customer"] else str(url)


def _link(link: dict[str, Any], now: float) -> str:
    text = str(link["state"])
    if "since_ms" in link:
        text += f" for {_duration(now - link['since_ms'] / 1000)}"
    if link.get("next_retry_ms"):
        text += f", next attempt in {_duration(link['next_retry_ms'] / 1000 - now)}"
    return text


def _browser(browser: dict[str, Any]) -> str:
    text = str(browser["state"])
    if "version" in browser:
        sandbox = "on" if browser["sandbox"] else "off"
        text += f": Chromium {browser['version']}, {browser['memory_mib']} MiB, sandbox {sandbox}"
    return text


def _artifacts(artifacts: dict[str, Any]) -> str:
    text = f"{artifacts['used_bytes'] / 1024**2:.1f} MiB kept"
    if artifacts["unsent"]:
        text += f", {artifacts['unsent']} the hub does not have yet"
    return text + (f": {artifacts['problem']}" if artifacts["problem"] else "")


def _duration(seconds: float) -> str:
    """Two units at most."""
    total = max(0, round(seconds))
    for size, name, lower_size, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= size:
            return f"{total // size} {name} {total % size // lower_size} {lower}"
    return f"{total} s"


def _line(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""How the machine and the daemon are: small figures for the pulse, larger ones for the inventory."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pysqlite3.dbapi2 as sqlite3

from appliance.folder import free_bytes
from appliance.identity import hostname


def pulse(data: Path) -> dict[str, Any]:
    """What changes from minute to minute; cheap enough to be read often."""
    memory = psutil.virtual_memory()
    return {
        "load": [round(value, 2) for value in psutil.getloadavg()],
        "memory_total_kb": memory.total // 1024,
        "memory_available_kb": memory.available // 1024,
        "disk_free_bytes": free_bytes(data),
        "daemon_rss_kb": psutil.Process().memory_info().rss // 1024,
        "uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }


def inventory(data: Path) -> dict[str, Any]:
    """What a box is made of; it changes at an update or not at all."""
    usage = os.statvfs(data)
    return {
        "hostname": hostname(),
        "os": _os_name(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": psutil.cpu_count() or 1,
        "memory_total_kb": psutil.virtual_memory().total // 1024,
        "disk_total_bytes": usage.f_blocks * usage.f_frsize,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what matters for a report of an error."""
    return {"operis": version("operis"), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()

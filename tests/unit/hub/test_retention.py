"""What nothing names any more goes; what something names stays."""

from pathlib import Path

from hub.retention import Retention
from tests.unit.hub.http import Http
from tests.unit.hub.running import RunningHub, make


def files(hub: RunningHub) -> list[Path]:
    """All files of artifacts."""
    return [path for path in (hub.data / "artifacts").rglob("*") if path.is_file()]


async def test_contents_go_with_the_last_task_that_names_them(hub: RunningHub, http: Http) -> None:
    await hub.box()
    first, second = await make(http, "box-1"), await make(http, "box-1")
    for task_id in (first, second):
        await hub.artifact(task_id, b"shared")
    await hub.artifact(first, b"alone")
    retention = Retention(hub.store, hub.context.blobs)
    retention.count()
    assert hub.context.blobs.used_bytes == len(b"shared") + len(b"alone")
    await retention.sweep()
    assert len(files(hub)) == 2
    await hub.job(lambda c: c.execute("DELETE FROM tasks WHERE id = ?", (first,)))
    await retention.sweep()
    assert [path.read_bytes() for path in files(hub)] == [b"shared"]
    await hub.job(lambda c: c.execute("DELETE FROM tasks WHERE id = ?", (second,)))
    await retention.sweep()
    assert files(hub) == []
    assert hub.rows("SELECT * FROM blobs") == []
    assert hub.context.blobs.used_bytes == 0

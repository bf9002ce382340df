"""Operators read what tasks left: exact bytes, harmless whatever they are, theirs alone."""

import hashlib
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from cloudsync.spec import Outcome, Output
from hub import artifacts, tenancy
from hub.artifacts import Content
from hub.dispatch import now_ms
from hub.signing import Link
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, event
from tests.unit.hub.running import RunningHub, make

DATA = bytes(range(256)) * 2000


@pytest.fixture
async def task_id(hub: RunningHub, http: Http) -> str:
    """A task of box-1."""
    await hub.box()
    return await make(http, "box-1")


async def test_the_bytes_come_whole_in_part_or_not_again(hub: RunningHub, http: Http, task_id: str) -> None:
    found = await hub.artifact(task_id, DATA, "shot 1.png", media_type="image/png")
    path = f"/api/v1/artifacts/{found['id']}"
    whole = await http.get(path)
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, DATA, "image/png")
    assert whole.headers["content-length"] == str(len(DATA))
    part = await http.get(path, Range="bytes=300000-300002")
    assert (part.status, part.body) == (206, DATA[300000:300003])
    assert part.headers["content-range"] == f"bytes 300000-300002/{len(DATA)}"
    assert (await http.get(path, Range="bytes=512000-")).status == 416
    etag = whole.headers["etag"]
    assert etag == f'"{hashlib.sha256(DATA).hexdigest()}"'
    again = await http.get(path, If_None_Match=f'"x", {etag}')
    assert (again.status, again.body) == (304, b"")
    assert (await http.get(path, If_None_Match='"x"')).status == 200


@pytest.mark.parametrize(
    ("name", "media_type", "how"),
    [
        ("a.png", "image/png", "inline"),
        ("a.txt", "text/plain; charset=utf-8", "inline"),
        ("a.html", "text/html", "attachment"),
        ("a.svg", "image/svg+xml", "attachment"),
        ("a.pdf", "application/pdf", "attachment"),
        ('ü"\\\r\n.zip', "application/zip", "attachment"),
        ("odd", "no type\r\nx: y", "attachment"),
        ("none", "", "attachment"),
    ],
)
async def test_nothing_that_a_page_made_runs_in_the_hubs_origin(
    hub: RunningHub, http: Http, task_id: str, name: str, media_type: str, how: str
) -> None:
    found = await hub.artifact(task_id, b"<script>alert(1)</script>", name, media_type=media_type)
    answer = await http.get(f"/api/v1/artifacts/{found['id']}")
    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith(f"{how};")
    assert f"filename*=UTF-8''{quote(name, safe='')}" in disposition
    assert "x" not in answer.headers
    if "\n" in media_type or not media_type:
        assert answer.headers["content-type"] == "application/octet-stream"


async def test_what_has_not_come_and_what_will_not_are_told_apart(hub: RunningHub, http: Http, task_id: str) -> None:
    pending = await hub.artifact(task_id, b"pending", "p.txt", pending=True)
    lost = await hub.artifact(task_id, b"lost", "l.txt", pending=True)
    stored = await hub.artifact(task_id, b"stored", "s.txt")
    await hub.job(lambda c: artifacts.lose(c, lost["id"], "box-1", "no room"))
    for found, status, code in ((pending, 409, "pending"), (lost, 410, "lost")):
        for answer in (
            await http.get(f"/api/v1/artifacts/{found['id']}"),
            await http.post(f"/api/v1/artifacts/{found['id']}/link"),
        ):
            assert (answer.status, answer.json()["code"]) == (status, code)
            assert answer.json()["hint"]
    assert "no room" in (await http.get(f"/api/v1/artifacts/{lost['id']}")).json()["detail"]
    listed = (await http.get(f"/api/v1/tasks/{task_id}/artifacts?limit=2")).json()
    assert [one["state"] for one in listed["items"]] == ["pending", "lost"]
    more = (await http.get(f"/api/v1/tasks/{task_id}/artifacts?limit=2&cursor={listed['next']}")).json()
    assert [one["id"] for one in more["items"]] == [stored["id"]]
    assert more["next"] is None
    assert set(more["items"][0]) == {"id", "name", "media_type", "size_bytes", "sha256", "state", "why"}


async def test_a_task_shows_what_its_outcome_names(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    assert (await http.get(f"/api/v1/tasks/{task_id}")).json()["artifacts"] == []
    await ended(box, task_id, b"whole")
    for shown in (
        (await http.get(f"/api/v1/tasks/{task_id}")).json(),
        (await http.get("/api/v1/tasks")).json()["items"][0],
    ):
        ((one),) = shown["artifacts"]
        assert (one["name"], one["state"], one["why"], one["size_bytes"]) == ("stdout.txt", "pending", "", 5)


async def ended(box: Peer, task_id: str, whole: bytes, tail: int = 3) -> dict[str, Any]:
    """End a task whose output was cut; the artifact that holds it whole."""
    sha256 = hashlib.sha256(whole).hexdigest()
    fields = {"id": f"a-{task_id}", "name": "stdout.txt", "media_type": "text/plain", "size_bytes": len(whole)}
    output = Output.of(whole[-tail:], total_bytes=len(whole), cut_bytes=len(whole) - tail)
    came = Outcome.model_validate(
        {"exit_code": 0, "stdout": output.model_dump(), "artifacts": [fields | {"sha256": sha256}]}
    )
    await box.report(event(task_id, "running"), event(task_id, "succeeded", came), ack=1)
    return fields | {"sha256": sha256}


async def test_whole_output_is_served_once_it_has_come_and_what_is_shown_stays_cut(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    await ended(box, task_id, DATA)
    path = f"/api/v1/tasks/{task_id}/output"
    before = await http.get(path)
    assert (before.headers["operis-truncated"], before.body) == ("true", DATA[-3:])
    await hub.artifact(task_id, DATA)  # the same content, which is therefore stored for both
    after = await http.get(path)
    assert (after.headers["operis-truncated"], after.body == DATA) == ("false", True)
    part = await http.get(path, Range="bytes=-5")
    assert (part.status, part.body) == (206, DATA[-5:])
    assert (await http.get(path, Range=f"bytes={len(DATA)}-")).status == 416
    assert (await http.get(f"{path}?stream=stderr")).body == b""
    shown = (await http.get(f"/api/v1/tasks/{task_id}")).json()
    assert shown["truncated"] is True
    assert [one["state"] for one in shown["artifacts"]] == ["stored", "stored"]


async def test_what_is_missing_on_the_hubs_disk_is_refused_and_there_again_with_its_file(
    hub: RunningHub, http: Http
) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    await ended(box, task_id, DATA)
    found = await hub.artifact(task_id, DATA)
    (row,) = hub.rows("SELECT customer_id, sha256, size_bytes FROM blobs")
    file = hub.context.blobs.place(Content(*row))
    away = file.rename(file.with_suffix(".away"))
    for path in (f"/api/v1/artifacts/{found['id']}", f"/api/v1/tasks/{task_id}/output"):
        answer = await http.get(path)
        assert (answer.status, answer.json()["code"]) == (410, "gone")
        assert "backup" in answer.json()["hint"]
    away.rename(file)
    assert (await http.get(f"/api/v1/artifacts/{found['id']}")).body == DATA


async def test_a_link_needs_no_key_and_is_good_for_its_time_and_as_long_as_its_maker(
    hub: RunningHub, http: Http, task_id: str
) -> None:
    found = await hub.artifact(task_id, DATA)
    path = f"/api/v1/artifacts/{found['id']}"
    made = (await http.post(f"{path}/link", {"ttl_s": 60})).json()
    assert set(made) == {"url", "download_url", "expires_at"}
    assert made["url"] == made["download_url"]
    anybody = hub.http(None)
    assert (await anybody.get(made["url"])).body == DATA
    assert (await anybody.get(made["url"], Range="bytes=0-1")).body == DATA[:2]
    query = parse_qs(urlsplit(made["url"]).query)
    for name, value in (("by", "k-x"), ("expires", "9999999999"), ("signature", "x")):
        changed = "&".join(f"{key}={value if key == name else values[0]}" for key, values in query.items())
        answer = await anybody.get(f"{path}?{changed}")
        assert (answer.status, answer.json()["code"]) == (401, "bad_link")
    key_id = query["by"][0]
    late = Link(found["id"], key_id, 1_600_000_000)
    signed = hub.context.signer.signature(late)
    answer = await anybody.get(f"{path}?by={key_id}&expires={late.expires_s}&signature={signed}")
    assert (answer.status, answer.json()["code"]) == (401, "link_expired")
    await hub.job(lambda c: tenancy.revoke_key(c, key_id, None, now_ms()))
    answer = await anybody.get(made["url"])
    assert (answer.status, answer.json()["code"]) == (401, "link_revoked")


async def test_a_link_to_a_trace_opens_the_viewer_on_it(hub: RunningHub, http: Http, task_id: str) -> None:
    found = await hub.artifact(task_id, b"PK", "trace.zip", media_type="application/zip")
    made = (await http.post(f"/api/v1/artifacts/{found['id']}/link", {})).json()
    parts = urlsplit(made["url"])
    assert parts.path == "/trace-viewer/"
    assert parse_qs(parts.query)["trace"] == [made["download_url"]]


@pytest.mark.parametrize("ttl_s", [0, -1, 86_401, "x"])
async def test_a_link_for_too_long_is_refused(hub: RunningHub, http: Http, task_id: str, ttl_s: Any) -> None:
    found = await hub.artifact(task_id, b"x")
    answer = await http.post(f"/api/v1/artifacts/{found['id']}/link", {"ttl_s": ttl_s})
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "ttl_s")

"""The metrics, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from hub.retention import Retention
from tests.unit.hub.http import Http
from tests.unit.hub.peer import Peer, outcome
from tests.unit.hub.running import ARTIFACT_LIMIT_BYTES, RunningHub, make


async def samples(http: Http) -> dict[str, float]:
    answer = await http.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


async def test_counters_follow_what_happens(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    stranger = hub.mine(Peer(hub.relay_url, "nobody", box.key))
    await stranger.greet()
    first = await make(http, box.box_id)
    await box.commands(1)
    await make(http, box.box_id)
    await box.finish(first, outcome(1), "failed")
    await hub.artifact(first, b"12345")
    Retention(hub.store, hub.context.blobs).count()
    found = await samples(hub.http(None))
    expected = {
        "operis_boxes_connected": 1,
        "operis_consoles_connected": 0,
        "operis_handshakes_total": 2,
        "operis_handshakes_denied_total": 1,
        "operis_tasks_submitted_total": 2,
        "operis_tasks_ended_total{state=failed}": 1,
        "operis_tasks_unfinished{state=queued}": 1,
        "operis_artifact_bytes": 5,
        "operis_artifact_limit_bytes": ARTIFACT_LIMIT_BYTES,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["operis_store_jobs_total"] >= found["operis_store_commits_total"] > 0
    assert found["process_resident_memory_bytes"] > 0

"""The hub's metrics for Prometheus, gathered when they are asked for."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from hub.blobs import Blobs
from hub.dispatch import Dispatch
from hub.relay import Relay
from hub.store import Store

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry over the hub's own counters."""

    def __init__(self, store: Store, dispatch: Dispatch, relay: Relay, blobs: Blobs) -> None:
        self._store = store
        self._dispatch = dispatch
        self._relay = relay
        self._blobs = blobs
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks a collector for."""
        yield _gauge("operis_boxes_connected", "Boxes with a live session.", len(self._dispatch.sessions))
        yield _gauge("operis_consoles_connected", "Open consoles.", self._relay.consoles)
        yield _counter("operis_handshakes", "Hellos judged.", self._relay.handshakes)
        yield _counter("operis_handshakes_denied", "Hellos that got no session.", self._relay.denied)
        yield _counter("operis_tasks_submitted", "Tasks accepted from operators.", self._dispatch.submitted)
        ended = CounterMetricFamily("operis_tasks_ended", "Tasks that ended, by state.", labels=["state"])
        for state, count in sorted(self._dispatch.ended.items()):
            ended.add_metric([state], count)
        yield ended
        unfinished = GaugeMetricFamily("operis_tasks_unfinished", "Unfinished tasks, by state.", labels=["state"])
        rows = self._store.read_now(
            """SELECT state, count(*) AS count FROM tasks WHERE state IN ('queued', 'accepted', 'running')
            GROUP BY state"""
        )
        for row in rows:
            unfinished.add_metric([row["state"]], row["count"])
        yield unfinished
        yield _gauge("operis_artifact_bytes", "What the files take that tasks left.", self._blobs.used_bytes)
        yield _gauge("operis_artifact_limit_bytes", "How much of that is kept at most.", self._blobs.limit_bytes)
        yield _counter("operis_store_commits", "Commits of the database.", self._store.commits)
        yield _counter("operis_store_jobs", "Jobs that those commits made durable.", self._store.jobs)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)

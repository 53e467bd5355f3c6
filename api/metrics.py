"""What Prometheus reads at /metrics: counted while the service runs, and asked of the database at every scrape."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from framehouse.errors import FramehouseError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import backlog
from ingest.verdict import Verdict

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """The measurements of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._events = self._counter("framehouse_events", "Events by what became of them.", "status")
        self._heartbeats = self._counter(
            "framehouse_heartbeats", "Heartbeats by what became of them.", "status"
        )
        self._batch = self._histogram("framehouse_batch_events", "Events in one transaction.", _SIZES)
        self._write = self._histogram("framehouse_write_seconds", "Time to commit one batch.", _SECONDS)
        self._requests = self._counter(
            "framehouse_http_requests", "HTTP requests by route and status.", "method", "route", "status"
        )
        self._request_seconds = self._histogram(
            "framehouse_http_request_seconds",
            "Time to answer a request; of a stream, until it begins.",
            _SECONDS,
            "method",
            "route",
        )

    def watch(
        self, warehouse: Callable[[], Warehouse], waiting: Callable[[], int], streams: Callable[[], int]
    ) -> None:
        """Also tell, at every scrape, what the database holds, how many elements wait to be written, and how many
        streams are open."""
        self.registry.register(_AtScrape(warehouse, waiting, streams))

    def count_events(self, results: Iterable[Verdict]) -> None:
        """Events of one request."""
        for result in results:
            self._events.labels(result.status.value).inc()

    def count_heartbeats(self, results: Iterable[Verdict]) -> None:
        """Heartbeats of one request."""
        for result in results:
            self._heartbeats.labels(result.status.value).inc()

    def on_batch(self, elements: int, seconds: float) -> None:
        """A batch was committed."""
        self._batch.observe(elements)
        self._write.observe(seconds)

    def on_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_, labels, buckets=buckets, registry=self.registry)


class _AtScrape(Collector):
    def __init__(
        self, warehouse: Callable[[], Warehouse], waiting: Callable[[], int], streams: Callable[[], int]
    ) -> None:
        self._warehouse = warehouse
        self._waiting = waiting
        self._streams = streams

    def describe(self) -> Iterable[Any]:
        """Nothing in advance: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "framehouse_ingest_waiting_events", "Events that wait to be written.", self._waiting()
        )
        yield GaugeMetricFamily(
            "framehouse_streams_open", "Open streams of what is written.", self._streams()
        )
        found: list[GaugeMetricFamily] = []
        is_up = False
        try:
            warehouse = self._warehouse()
            with (
                warehouse.autocommit() as session
            ):  # a connection of its own: fails at once where the pool waits
                is_up = session.value("reference.ping") == 1
            found += _of_database(warehouse)
        except FramehouseError:
            pass  # a scrape during an outage, or before the schema is made, says what there is to say
        yield GaugeMetricFamily("framehouse_database_up", "Whether the database answers.", float(is_up))
        yield from found


def _of_database(warehouse: Warehouse) -> Iterator[GaugeMetricFamily]:
    with warehouse.session() as session:
        count = session.value("quarantine.count_open")
    yield GaugeMetricFamily("framehouse_quarantine_open", "Refused bodies that nobody replayed yet.", count)
    waiting = backlog(warehouse)
    buckets = GaugeMetricFamily(
        "framehouse_backlog_buckets", "Marks of buckets that wait to be recomputed.", labels=["kind"]
    )
    buckets.add_metric(["fine"], waiting.touched_buckets)
    buckets.add_metric(["day"], waiting.touched_days)
    buckets.add_metric(["pending"], waiting.pending_buckets)
    yield buckets

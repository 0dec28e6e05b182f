"""What Prometheus is told."""

from collections.abc import Callable, Iterable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sim_transforms.service.served import Served

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Of one service.

    Args:
        served: the version that answers.
        there: how many requests are worked on or wait.
    """

    def __init__(self, served: Served, there: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.queries = Counter("ruiji_queries", "Queries answered; a request holds several.", registry=self._registry)
        self._requests = Counter(
            "ruiji_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "ruiji_request_seconds",
            "From the first byte to the last.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_State(served, there))

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts an answered request; `route` is a template, never a path, of which there are too many."""
        known = method if method in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        self._requests.labels(route, known, str(HTTPStatus(status).value)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is so at the moment of asking."""

    def __init__(self, served: Served, there: Callable[[], int]) -> None:
        self._served, self._there = served, there

    def collect(self) -> Iterable[Metric]:
        """Gauges of now."""
        opened, state = self._served.current, self._served.state
        info = GaugeMetricFamily("ruiji_version", "The version that answers.", labels=["version"])
        info.add_metric([opened.version], 1)
        yield info
        yield GaugeMetricFamily("ruiji_items", "Items of that version.", opened.manifest.items)
        yield GaugeMetricFamily("ruiji_requests_there", "Requests that are worked on or wait.", self._there())
        yield CounterMetricFamily("ruiji_versions_taken_up", "Versions served so far.", state.taken_up)
        yield GaugeMetricFamily("ruiji_versions_refused", "Versions that cannot be opened.", len(state.refused))
        if state.looked_seconds is not None:
            yield GaugeMetricFamily("ruiji_latest_age_seconds", "Since LATEST was last read.", state.looked_seconds)

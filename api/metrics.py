"""What Prometheus reads."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from autopeft.api.streams import Streams
from autopeft.service.job import Job, Kind
from autopeft.service.ports import Counts, Service

_LATEST = 50
"""So many searches have gauges of their own."""


class Requests:
    """Counts requests and how long they took, by route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "autopeft_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "autopeft_http_request_duration_seconds",
            "How long answers took.",
            ("route",),
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
        )

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class _Jobs(Collector):
    """Counts what is in the store when it is asked."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams

    def describe(self) -> Iterable[Metric]:
        """Describe nothing beforehand: that would read the store when the app is made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the store once, and tell what is in it."""
        counts = self._service.jobs.counts()
        yield from _queue(counts)
        yield from _trials(counts)
        latest = self._service.jobs.page(kind=Kind.SEARCH, limit=_LATEST).jobs
        yield from _searches(latest)
        streams = GaugeMetricFamily("autopeft_event_streams", "Event streams that are open.")
        streams.add_metric([], self._streams.open)
        yield streams


def _queue(counts: Counts) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("autopeft_jobs", "Jobs by state.", labels=("kind", "state"))
    for (kind, state), number in sorted(counts.jobs.items()):
        jobs.add_metric([kind, state], number)
    yield jobs
    depth = GaugeMetricFamily("autopeft_queue_depth", "Jobs that wait.", labels=("lane",))
    for lane, number in sorted(counts.waiting.items()):
        depth.add_metric([lane], number)
    yield depth
    workers = GaugeMetricFamily("autopeft_workers", "Workers that live.", labels=("lane",))
    for lane, number in sorted(counts.workers.items()):
        workers.add_metric([lane], number)
    yield workers
    oldest = GaugeMetricFamily(
        "autopeft_queue_oldest_seconds", "How long the first of the waiting jobs has waited."
    )
    oldest.add_metric([], counts.oldest)
    yield oldest


def _trials(counts: Counts) -> Iterator[Metric]:
    trials = GaugeMetricFamily("autopeft_trials_total", "Trials by state.", labels=("state",))
    for state, number in sorted(counts.trials.items()):
        trials.add_metric([state], number)
    yield trials
    oom = CounterMetricFamily("autopeft_oom", "Trials that did not fit into memory.")
    oom.add_metric([], counts.trials.get("oom", 0))
    yield oom


def _searches(latest: Iterable[Job]) -> Iterator[Metric]:
    seconds = GaugeMetricFamily(
        "autopeft_search_duration_seconds", "Spent on the latest searches.", labels=("search",)
    )
    best = GaugeMetricFamily(
        "autopeft_best_objective", "The best score of the latest searches.", labels=("search",)
    )
    for job in latest:
        seconds.add_metric([job.id], job.progress.seconds)
        if job.progress.best is not None:
            best.add_metric([job.id], job.progress.best)
    yield seconds
    yield best


def registry() -> CollectorRegistry:
    """Make a registry that counts what the process uses."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    return made


def count_jobs(into: CollectorRegistry, service: Service, streams: Streams) -> None:
    """Count jobs and streams too."""
    into.register(_Jobs(service, streams))


def written(from_registry: CollectorRegistry) -> bytes:
    """Write all metrics in the format of Prometheus."""
    return generate_latest(from_registry)

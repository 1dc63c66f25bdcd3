"""Metrics of the API for Prometheus. With several workers, `serving.api.gate.workers` chooses a folder before."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

REGISTRY: Final = CollectorRegistry()
FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder in which workers share their metrics."""


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"tailorbird_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    """Return a gauge; of several workers, the one that set it last counts."""
    return Gauge(f"tailorbird_{name}", text, labels, registry=REGISTRY, multiprocess_mode="mostrecent")


REQUEST_SECONDS: Final = Histogram(
    "tailorbird_http_request_duration_seconds",
    "Time from the request's headers to the end of the answer.",
    ("route", "method", "status_class"),
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
VARIANT_SECONDS: Final = Histogram(
    "tailorbird_variant_duration_seconds",
    "Time to find the answer of a variant of an experiment.",
    ("variant", "outcome"),
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
"""Outcomes: `answered` and `failed`."""
SHED: Final = _counter("requests_shed_total", "Requests refused to protect the server.", "reason")
"""Reasons: `rate` (a caller's limit) and `overload`."""
REFUSED_KEYS: Final = _counter("keys_refused_total", "Requests without a valid key, or without its scope.", "reason")
ANSWERS: Final = _counter("answers_total", "Answers by the source of their items.", "source")
DEGRADED: Final = _counter("answers_degraded_total", "Answers for which a dependency was not available.")
CACHE_REQUESTS: Final = _counter("cache_requests_total", "Look-ups in the cache.", "result")
CONSENT_DENIED: Final = _counter("consent_denied_total", "Requests for which consent was missing.", "stage")
EVENTS: Final = _counter("events_total", "Messages of applications, and logged answers.", "kind", "outcome")
"""Kinds: `message`, `impressions` and `call` (of Segment's libraries). Outcomes: `accepted`, `spooled`, `duplicate`,
`refused`, `dropped` (of calls: not durable, so that the library sends them again) and `sampled_out`."""
STREAM_MESSAGES: Final = _counter("stream_messages_total", "Messages of brokers by what became of them.", "outcome")
"""Outcomes: `stored`, `duplicate`, and the reasons of dead letters."""
RESCORED: Final = _counter("rescored_users_total", "Users whose live lists consumers scored again.", "outcome")
"""Outcomes: `scored`, and `failed` after five attempts."""
STREAM_LAG: Final = _gauge("stream_lag_messages", "Messages that wait in the broker.", "queue")
DEAD_LETTERS: Final = _gauge("dead_letters", "Messages that wait for a person, of all consumers.", "reason")
_MODEL: Final = "tailorbird_model_info"
MODEL_INFO: Final = _gauge("model_info", "1 for the loaded champion; earlier ones are left out.", "version", "digest")
RELOAD_FAILURES: Final = _counter("model_reload_failures_total", "Champions that were refused, by reason.", "reason")
BATCH_AGE: Final = _gauge("batch_age_seconds", "Age of the published lists.", "placement")


@dataclass(frozen=True)
class _OfAllWorkers:
    """Adds up the metrics of all workers, without the champions before the loaded one.

    Workers cannot delete what they have written to their common folder. A worker that has just started, or was killed
    then, leaves an empty file, with which prometheus-client would fail (client_python, issue 1199).
    """

    def collect(self) -> Iterator[Metric]:
        for metric in _collected():
            if metric.name == _MODEL:
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def exposition() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    return generate_latest(_OfAllWorkers())


def show_model(version: str, digest: str) -> None:
    """Show the loaded champion in place of earlier ones, also of those that a dead worker has left behind."""
    for metric in _collected():
        for sample in metric.samples if metric.name == _MODEL else ():
            MODEL_INFO.labels(sample.labels["version"], sample.labels["digest"]).set(0)
    MODEL_INFO.labels(version, digest).set(1)


def _collected() -> Iterable[Metric]:
    folder = os.environ.get(FOLDER)
    if folder is None:
        return REGISTRY.collect()
    files = [str(path) for path in Path(folder).glob("*.db") if path.stat().st_size]
    merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return merged

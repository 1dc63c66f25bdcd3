"""Tests serving metrics, read from real Prometheus endpoints, and alerts to a recording Prefect server."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Thread
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from infra.installation import Installation
from infra.prefect_api import events
from tasks.monitoring.serving_metrics import MetricsState, alert_slow_serving, current_metrics
from tests.recording_server import RecordingServer


@dataclass
class Serving:
    """A server with metrics of its answers."""

    histogram: Histogram
    refused: Counter
    shed: Counter
    server: WSGIServer
    thread: Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/metrics"

    def answer(self, seconds: float, times: int = 1, status: str = "2xx") -> None:
        for _ in range(times):
            self.histogram.labels("/v1/users/{user}", "GET", status).observe(seconds)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def begin(name: str = "tailorbird_http_request_duration_seconds") -> Serving:
    registry = CollectorRegistry()
    labels = ["route", "method", "status_class"]
    buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
    made = Histogram(name, "How long answers took.", labels, registry=registry, buckets=buckets)
    refused = Counter("tailorbird_model_reload_failures", "Champions that were refused.", ["reason"], registry=registry)
    shed = Counter("tailorbird_requests_shed", "Requests that were refused.", ["reason"], registry=registry)
    return Serving(made, refused, shed, *start_http_server(0, "127.0.0.1", registry))


@pytest.fixture
def serving() -> Iterator[Serving]:
    made = begin()
    yield made
    made.stop()


def reading(installation: Installation, addresses: str, **endpoints: str) -> Installation:
    """Return an installation that reads metrics at these addresses."""
    settings = installation.settings.model_copy(update={"metrics_url": addresses})
    return replace(installation, settings=settings, endpoints=replace(installation.endpoints, **endpoints))


@pytest.fixture
def installation(installation: Installation, serving: Serving, recorder: RecordingServer) -> Installation:
    """An installation that reads that server's metrics, with a recording Prefect server."""
    return recorder.installed(reading(installation, serving.url))


@pytest.fixture
def metrics_state(installation: Installation) -> MetricsState:
    """The state after a first check: nobody knows when earlier requests came."""
    state = MetricsState()
    assert check_metrics(installation, state) is None
    return state


def check_metrics(installation: Installation, metrics_state: MetricsState) -> str | None:
    metrics_state.checked_at = None  # a minute has gone
    return alert_slow_serving(installation, metrics_state)


def test_quick_answers_are_no_news_and_slow_ones_are_reported_once_an_hour(
    installation: Installation, serving: Serving, recorder: RecordingServer
) -> None:
    metrics_state = MetricsState()
    serving.answer(0.9, 500)  # before the first look: nobody knows when
    assert check_metrics(installation, metrics_state) is None
    serving.answer(0.02, 1000)
    assert check_metrics(installation, metrics_state) is None
    serving.answer(0.02, 980)
    serving.answer(0.9, 20)
    assert alert_slow_serving(installation, metrics_state) is None, "it is looked at most once a minute"
    answer = check_metrics(installation, metrics_state)
    assert answer is not None
    assert "last 1000 requests: p99 is 750 ms (250 are allowed)" in answer
    [event] = recorder.events()
    assert (event["event"], event["payload"]["reason"]) == (events.SLOW_SERVING, answer)
    assert event["payload"]["page"] == serving.url
    serving.answer(0.9, 200)
    assert check_metrics(installation, metrics_state) is None
    serving.answer(0.02, 200)
    check_metrics(installation, metrics_state)  # it was well again: the next time is news
    serving.answer(0.9, 200)
    assert check_metrics(installation, metrics_state) is not None
    assert len(recorder.events()) == 2


def test_errors_are_reported_by_their_share_and_few_requests_are_not_judged(
    installation: Installation, serving: Serving, metrics_state: MetricsState
) -> None:
    serving.answer(0.02, 50, "5xx")
    assert check_metrics(installation, metrics_state) is None
    serving.answer(0.02, 950)
    answer = check_metrics(installation, metrics_state)
    assert answer is not None
    assert "5.0% of the answers are errors (1.0% are allowed)" in answer


def test_requests_that_were_shed_are_distinguished_from_errors(
    installation: Installation, serving: Serving, metrics_state: MetricsState
) -> None:
    serving.answer(0.02, 950)
    serving.answer(0.001, 50, "5xx")
    serving.shed.labels("overload").inc(50)
    serving.answer(0.001, 500, "4xx")
    serving.shed.labels("rate").inc(500)  # a caller beyond its own limit
    answer = check_metrics(installation, metrics_state)
    assert answer is not None
    assert "3.3% of the requests were refused for overload (1.0% are allowed)" in answer
    assert "errors" not in answer
    metrics = current_metrics(installation)
    assert metrics is not None
    assert metrics.error_share == 0


def test_after_a_restart_of_the_server_it_is_judged_by_what_came_since(
    installation: Installation, serving: Serving
) -> None:
    metrics_state = MetricsState()
    serving.answer(0.02, 5000)
    check_metrics(installation, metrics_state)
    again = begin()
    try:
        metrics_state.counts[again.url] = metrics_state.counts.pop(serving.url)
        again.answer(0.9, 300)
        answer = check_metrics(reading(installation, again.url), metrics_state)
    finally:
        again.stop()
    assert answer is not None
    assert "last 300 requests" in answer


def test_a_server_that_cannot_be_asked_is_reported_without_its_password(
    installation: Installation, recorder: RecordingServer
) -> None:
    url = "http://127.0.0.1:9/metrics"
    there, metrics_state = reading(installation, url.replace("//", "//me:hidden@")), MetricsState()
    answer = check_metrics(there, metrics_state)
    assert answer is not None
    assert f"The metrics of serving at {url} cannot be read" in answer
    assert check_metrics(there, metrics_state) is None
    assert [event["payload"]["reason"] for event in recorder.events()] == [answer]
    assert current_metrics(there) is None


def test_the_figures_of_now_are_those_of_all_servers_that_answer_by_the_present_or_the_earlier_name(
    installation: Installation, serving: Serving
) -> None:
    assert current_metrics(installation) is None
    earlier = begin("reco_http_request_duration_seconds")
    serving.answer(0.02, 49)
    serving.answer(0.02, 1, "5xx")
    earlier.answer(0.02, 50)
    result = current_metrics(reading(installation, f"http://127.0.0.1:9/metrics, {serving.url}, {earlier.url}"))
    earlier.stop()
    assert result is not None
    assert result.count == 100
    assert result.error_share == 0.01
    assert 10 < result.p99_ms <= 25
    own = current_metrics(reading(installation, "", api_page=serving.url.removesuffix("/metrics")))
    assert own is not None
    assert own.count == 50, "without addresses those of the own API"


def test_an_alert_is_repeated_until_prefect_has_received_it(
    installation: Installation, recorder: RecordingServer
) -> None:
    away = reading(installation, "http://127.0.0.1:9/metrics", prefect_api_url="http://127.0.0.1:9/api")
    metrics_state = MetricsState()
    assert check_metrics(away, metrics_state) is not None
    assert check_metrics(replace(away, endpoints=installation.endpoints), metrics_state) is not None
    assert len(recorder.events()) == 1


def test_a_champion_that_a_server_refuses_is_reported_once(
    installation: Installation, serving: Serving, metrics_state: MetricsState
) -> None:
    serving.refused.labels("poisoned").inc()
    reason = check_metrics(installation, metrics_state)
    assert reason is not None
    assert "refuses the newest champion" in reason
    assert check_metrics(installation, metrics_state) is None

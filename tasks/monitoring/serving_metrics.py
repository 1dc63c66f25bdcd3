"""Reads how fast recommendations are answered from the metrics of the servers that answer them."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families

from infra.configuration.addresses import shown
from infra.configuration.settings import Settings
from infra.installation import Installation
from infra.prefect_api import events
from infra.services.http_client import fetch_text
from models.monitoring.latency_histogram import RequestCounts
from tasks.orchestration.alert_throttle import AlertThrottle

_METRIC: Final = "reco_http_request_duration_seconds"
_EVERY, _HOUR, _FEWEST = 60.0, 3600.0, 100
_P99: Final = 0.99


@dataclass
class MetricsState:
    """What was seen at the last looks, and what was told of it."""

    at: float | None = None
    before: dict[str, RequestCounts] = field(default_factory=dict)
    told: AlertThrottle = field(default_factory=AlertThrottle)


_LOOKS: Final = MetricsState()


def addresses(settings: Settings) -> list[str]:
    """Where metrics are read."""
    return [address.strip() for address in settings.metrics_url.split(",") if address.strip()]


def read(address: str) -> RequestCounts:
    """What a server has answered since it started. Raises OSError when it cannot be reached."""
    within: dict[float, float] = {}
    errors = 0.0
    for family in text_string_to_metric_families(fetch_text(address)):
        for sample in family.samples:
            if sample.name == f"{_METRIC}_bucket":
                bound = float(sample.labels["le"])
                within[bound] = within.get(bound, 0) + sample.value
            elif sample.name == f"{_METRIC}_count" and sample.labels.get("status_class", "").startswith("5"):
                errors += sample.value
    return RequestCounts(within, errors)


def current_metrics(installation: Installation) -> dict[str, Any] | None:
    """p99_ms, error_share and requests of all servers since each was started; None when none can be read or none was
    asked for anything."""
    whole = RequestCounts()
    for address in addresses(installation.settings):
        try:
            whole += read(address)
        except (OSError, ValueError):  # the reconciler tells of it
            continue
    if not whole.count:
        return None
    return {"p99_ms": 1000 * whole.quantile(_P99), "error_share": whole.error_share, "requests": int(whole.count)}


def alert_slow_serving(installation: Installation, state: MetricsState = _LOOKS) -> str | None:
    """Emit an event when answers since the last look are slow or wrong, or a server cannot be asked; once an hour each.

    Looks at most once a minute. A server that answers little is judged when it has answered enough.
    """
    if state.at is not None and monotonic() - state.at < _EVERY:
        return None
    state.at = monotonic()
    reasons = []
    for address in addresses(installation.settings):
        reason = _judged(installation.settings, address, state)
        if reason is None:
            continue
        if not reason:
            state.told.reset(address)
        elif not state.told.recently_sent(address, _HOUR):
            payload = {"reason": reason, "page": shown(address)}
            if events.try_emit(
                installation.endpoints, events.SLOW_SERVING, f"tailorbird.serving.{shown(address)}", payload
            ):
                state.told.mark_sent(address)
            reasons.append(reason)
    return " ".join(reasons) or None


def _judged(settings: Settings, address: str, state: MetricsState) -> str | None:
    """What is wrong with a server; empty for nothing, None while that cannot be said."""
    try:
        counts = read(address)
    except HTTPError as refusal:
        return f"The metrics of serving at {shown(address)} cannot be read: it answers {refusal.code}."
    except (OSError, ValueError) as error:
        return f"The metrics of serving at {shown(address)} cannot be read: {error}."
    before = state.before.setdefault(address, counts)
    since = counts.since(before)
    if since.count < _FEWEST:
        return None
    state.before[address] = counts
    p99, error_share = 1000 * since.quantile(_P99), since.error_share
    problems = (
        [f"p99 is {p99:.0f} ms ({settings.serving_p99_ms:g} are allowed)"] if p99 > settings.serving_p99_ms else []
    )
    if error_share > settings.serving_error_share:
        problems.append(f"{error_share:.1%} of the answers are errors ({settings.serving_error_share:.1%} are allowed)")
    return f"Serving at {shown(address)}, last {since.count:.0f} requests: {', '.join(problems)}." if problems else ""

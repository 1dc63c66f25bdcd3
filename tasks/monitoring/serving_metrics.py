"""Reads latency, errors and refused champions from the metrics of the servers that answer requests."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from infra.configuration.addresses import shown
from infra.configuration.settings import Settings
from infra.installation import Installation
from infra.keys.api_keys import METRICS_KEY
from infra.keys.credentials import find_secret
from infra.prefect_api import events
from infra.services.http_client import fetch_text
from models.monitoring.latency_histogram import RequestCounts
from tasks.orchestration.alert_throttle import AlertThrottle

_METRICS: Final = ("tailorbird_http_request_duration_seconds", "reco_http_request_duration_seconds")
"""The histogram of the API, and its name in servers of your own that followed earlier pages."""
_REFUSED_CHAMPIONS: Final = "tailorbird_model_reload_failures_total"
_SHED: Final = "tailorbird_requests_shed_total"
_OVERLOAD: Final = "overload"
"""The reason of a request that was shed with 503; a caller beyond its own limit gets 429, which is no error."""
_BUCKETS, _COUNTS = tuple(f"{name}_bucket" for name in _METRICS), tuple(f"{name}_count" for name in _METRICS)
_EVERY, _HOUR, _MIN_REQUESTS = 60.0, 3600.0, 100


@dataclass
class MetricsState:
    """The counts of earlier checks, and the alerts that were sent."""

    checked_at: float | None = None
    counts: dict[str, RequestCounts] = field(default_factory=dict)
    refused_champions: dict[str, float] = field(default_factory=dict)
    throttle: AlertThrottle = field(default_factory=AlertThrottle)


_STATE: Final = MetricsState()


def addresses(installation: Installation) -> list[str]:
    """Return the addresses of the metrics in the settings; without any, that of the API that `up` starts."""
    given = [address.strip() for address in installation.settings.metrics_url.split(",") if address.strip()]
    own = installation.endpoints.api_page
    return given or ([f"{own}/metrics"] if own else [])


def read(settings: Settings, address: str) -> tuple[RequestCounts, float]:
    """Return the requests of a server since its start, and how many promoted models it refused to answer from.

    Raises OSError if it cannot be reached.
    """
    within: dict[float, float] = {}
    errors = refused = shed = 0.0
    for family in text_string_to_metric_families(fetched(settings, address)):
        for sample in family.samples:
            if sample.name in _BUCKETS:
                bound = float(sample.labels["le"])
                within[bound] = within.get(bound, 0) + sample.value
            elif sample.name in _COUNTS and sample.labels.get("status_class", "").startswith("5"):
                errors += sample.value
            elif sample.name == _REFUSED_CHAMPIONS:
                refused += sample.value
            elif sample.name == _SHED and sample.labels.get("reason") == _OVERLOAD:
                shed += sample.value
    return RequestCounts(within, errors, shed), refused


def fetched(settings: Settings, address: str) -> str:
    """Return the metrics of a server as text. Raises OSError if it cannot be reached."""
    return fetch_text(_with_key(settings, address))


def _with_key(settings: Settings, address: str) -> str:
    """Return the address with the key of the API on this host, unless it names a login or another host."""
    key, given = find_secret(settings, METRICS_KEY), urlsplit(address)
    if key is None or given.username or given.hostname not in ("127.0.0.1", "localhost"):
        return address
    return given._replace(netloc=f"monitor:{key}@{given.netloc}").geturl()


def current_metrics(installation: Installation) -> RequestCounts | None:
    """Return the requests of all servers since their start; None without any request or readable server."""
    whole = RequestCounts()
    for address in addresses(installation):
        try:
            whole += read(installation.settings, address)[0]
        except (OSError, ValueError):  # the reconciler alerts about it
            continue
    return whole if whole.count else None


def alert_slow_serving(installation: Installation, state: MetricsState = _STATE) -> str | None:
    """Emit an event if answers since the last check are slow or errors, or a server refuses a champion or is silent.

    Checks at most once a minute, and alerts once an hour per server. A server is judged once it has enough answers.
    """
    if state.checked_at is not None and monotonic() - state.checked_at < _EVERY:
        return None
    state.checked_at = monotonic()
    reasons = []
    for address in addresses(installation):
        reason = _problem(installation.settings, address, state)
        if reason is None:
            continue
        if not reason:
            state.throttle.reset(address)
        elif not state.throttle.recently_sent(address, _HOUR):
            payload = {"reason": reason, "page": shown(address)}
            if events.try_emit(
                installation.endpoints, events.SLOW_SERVING, f"tailorbird.serving.{shown(address)}", payload
            ):
                state.throttle.mark_sent(address)
            reasons.append(reason)
    return " ".join(reasons) or None


def _problem(settings: Settings, address: str, state: MetricsState) -> str | None:
    """Return the problem of a server; empty without one, None if it has too few answers to judge."""
    try:
        requests, refused = read(settings, address)
    except HTTPError as refusal:
        return f"The metrics of serving at {shown(address)} cannot be read: it answers {refusal.code}."
    except (OSError, ValueError) as error:
        return f"The metrics of serving at {shown(address)} cannot be read: {error}."
    refused_before = state.refused_champions.get(address, 0.0)
    state.refused_champions[address] = refused
    if refused > refused_before:
        return (
            f"Serving at {shown(address)} refuses the newest champion and answers from the one before; its log names "
            'the reason. Go back with `tailorbird rollback model --reason "it cannot be served"`, or train again.'
        )
    before = state.counts.setdefault(address, requests)
    since = requests.since(before)
    if since.count < _MIN_REQUESTS:
        return None
    state.counts[address] = requests
    problems = _beyond_limits(settings, since)
    return f"Serving at {shown(address)}, last {since.count:.0f} requests: {', '.join(problems)}." if problems else ""


def _beyond_limits(settings: Settings, since: RequestCounts) -> list[str]:
    p99, most = since.p99_ms, settings.serving_error_share
    problems = []
    if p99 > settings.serving_p99_ms:
        problems.append(f"p99 is {p99:.0f} ms ({settings.serving_p99_ms:g} are allowed)")
    if since.error_share > most:
        problems.append(f"{since.error_share:.1%} of the answers are errors ({most:.1%} are allowed)")
    if since.shed_share > most:
        problems.append(
            f"{since.shed_share:.1%} of the requests were refused for overload ({most:.1%} are allowed): give the API "
            "more workers (api_workers), or its callers lower limits"
        )
    return problems

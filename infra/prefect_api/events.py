"""Records events in Prefect. Its automations react to them: they start a run or send an alert."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from infra.prefect_api.client import PrefectClient
from infra.services.endpoints import Endpoints

DRIFT: Final = "tailorbird.drift.detected"
BROKEN_FEED: Final = "tailorbird.feed.broken"
LOW_ACCURACY: Final = "tailorbird.accuracy.low"
SLOW_SERVING: Final = "tailorbird.serving.slow"
EXPIRED_REVIEW: Final = "tailorbird.review.expired"
STALE_LISTS: Final = "tailorbird.lists.stale"
GATE_REFUSED: Final = "tailorbird.gate.refused"
AUDIT: Final = "tailorbird.audit.beyond_margin"
ALTERED_VERSION: Final = "tailorbird.version.altered"
QUOTA: Final = "tailorbird.key.spent"
STREAM: Final = "tailorbird.stream.behind"
SEGMENT: Final = "tailorbird.segment.requested"
UNCONFIRMED_ORDERS: Final = "tailorbird.orders.unconfirmed"
GIVEN_UP: Final = "tailorbird.retrain.given_up"
PRIVACY: Final = "tailorbird.privacy.late"
EXPERIMENT_STOPPED: Final = "tailorbird.experiment.stopped"
SERVICE: Final = "tailorbird.service.restarted"


def request_resource(request_id: int) -> str:
    """Return the resource id of events about a retrain request."""
    return f"tailorbird.retrain-request.{request_id}"


def emit(
    endpoints: Endpoints,
    name: str,
    resource_id: str,
    payload: Mapping[str, Any],
    related: Sequence[Mapping[str, str]] = (),
) -> None:
    """Record an event. Raises PrefectError when Prefect does not answer or refuses it.

    Alerts show the `reason` in the payload, which states what happened, and the `page` with details if there is one.
    """
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": resource_id},
        "related": [dict(resource) for resource in related],
        "payload": dict(payload),
    }
    PrefectClient.of(endpoints).post_all("/events", [event])


def try_emit(endpoints: Endpoints, name: str, resource_id: str, payload: Mapping[str, Any]) -> bool:
    """Record an event about work that is committed already; return False when Prefect did not accept it."""
    with suppress(OSError):
        emit(endpoints, name, resource_id, payload)
        return True
    return False

"""Tells Prefect that something happened; automations on its page start a run or send an alert then."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from infra.prefect_api.deployments import authorization
from infra.services.endpoints import Endpoints
from infra.services.http_client import request_json

DRIFT: Final = "tailorbird.drift.detected"
BROKEN_FEED: Final = "tailorbird.feed.broken"
LOW_ACCURACY: Final = "tailorbird.accuracy.low"
SLOW_SERVING: Final = "tailorbird.serving.slow"
EXPIRED_REVIEW: Final = "tailorbird.review.expired"
STALE_LISTS: Final = "tailorbird.lists.stale"
GATE_REFUSED: Final = "tailorbird.gate.refused"
AUDIT: Final = "tailorbird.audit.beyond_margin"
ALTERED_VERSION: Final = "tailorbird.version.altered"
GIVEN_UP: Final = "tailorbird.retrain.given_up"


def request_resource(request_id: int) -> str:
    """What the events about a retrain request are about."""
    return f"tailorbird.retrain-request.{request_id}"


def emit(
    endpoints: Endpoints,
    name: str,
    resource_id: str,
    payload: Mapping[str, Any],
    related: Sequence[Mapping[str, str]] = (),
) -> None:
    """Record an event. Raises OSError (of urllib) when Prefect cannot be reached or refuses it.

    Alerts show `reason` and, where there is one, `page` of the payload: what happened in words, and where to look.
    """
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": resource_id},
        "related": [dict(resource) for resource in related],
        "payload": dict(payload),
    }
    request_json(
        "POST", f"{endpoints.prefect_api_url.rstrip('/')}/events", authorization(endpoints.environment), [event]
    )


def try_emit(endpoints: Endpoints, name: str, resource_id: str, payload: Mapping[str, Any]) -> bool:
    """The same for whoever has done his work already, after his commit: False when Prefect did not take it."""
    with suppress(OSError):
        emit(endpoints, name, resource_id, payload)
        return True
    return False

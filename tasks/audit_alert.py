"""Says in Prefect that a group of people is served worse than everybody else: automations can listen to it."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from infra.calls import ask
from infra.deployments import authorization
from infra.installation import Installation

EVENT: Final = "tailorbird.audit.beyond_margin"


def alert_beyond_margin(here: Installation, audit_id: int, payload: Mapping[str, Any]) -> None:
    """Emit the event; where Prefect does not take it, the audit is stored all the same."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": f"tailorbird.audit.{audit_id}"},
        "payload": dict(payload),
    }
    with suppress(OSError):
        api = here.endpoints.prefect_api_url.rstrip("/")
        ask("POST", f"{api}/events", authorization(here.endpoints.environment), [event])

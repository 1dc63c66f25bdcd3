"""Starts the deployment `privacy` for requests of people that wait, and alerts before one is late."""

from typing import Final

from sqlalchemy import text

from infra.database.schema.privacy_schema import EXPORT
from infra.installation import Installation
from infra.locks import running_work
from infra.prefect_api import events
from infra.prefect_api.flow_runs import Attempt, start_next_run
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler.streams import emit_new

_DAY: Final = 86_400
_GRACE: Final = "30 seconds"
"""The command that makes a request carries it out itself in this time."""
_THROTTLE: Final = AlertThrottle()
_WAITING: Final = text(f"""
    SELECT max(request_id) AS newest, bool_or(kind = '{EXPORT}') AS for_copies, current_date AS day
    FROM identity.privacy_requests WHERE state = 'open' AND asked_at < now() - interval '{_GRACE}'""")
_LATE: Final = text("""
    SELECT request_id, kind, due_at, due_at < now() AS is_late FROM identity.privacy_requests
    WHERE state = 'open' AND due_at < now() + :days * interval '1 day' ORDER BY request_id""")


def start_privacy(installation: Installation) -> str | None:
    """Start `privacy` if requests wait, once no work blocks erasures; returns a line about it, or None."""
    with installation.engine.connect() as connection:
        waiting = connection.execute(_WAITING).one()
    if waiting.newest is None or (running_work(installation.engine) and not waiting.for_copies):
        return None
    cause = f"privacy request {waiting.newest} on {waiting.day}"
    if start_next_run(installation.endpoints, "privacy", cause, {}) is not Attempt.STARTED:
        return None
    return f"Requests of people up to number {waiting.newest} are being carried out."


def alert_late_requests(installation: Installation, throttle: AlertThrottle = _THROTTLE) -> str | None:
    """Emit an event, at most once a day, for each request that is late, or soon is."""
    with installation.engine.connect() as connection:
        rows = connection.execute(_LATE, {"days": installation.settings.privacy_alert_days}).all()
    problems = {
        str(row.request_id): f"Request {row.request_id} to {row.kind} {'was' if row.is_late else 'is'} due on "
        f"{row.due_at:%Y-%m-%d}, and waits. `tailorbird privacy continue` carries it out, or names what it waits for."
        for row in rows
    }
    return emit_new(installation, events.PRIVACY, "tailorbird.privacy-request", problems, throttle, _DAY)

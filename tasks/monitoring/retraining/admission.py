"""Whether a run may retrain: nobody else works on its request, and what it would learn from is sound."""

from dataclasses import dataclass
from typing import Final

from prefect.runtime import flow_run
from sqlalchemy import func, select

from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports
from infra.installation import Installation
from infra.services import prefect_pages
from tasks.monitoring.retraining.leases import Claim, claim, finish
from tasks.monitoring.retraining.requests import (
    FAILED,
    REQUESTED,
    RUNNING,
    Origin,
    Request,
    get_request,
    open_request,
    request_retraining,
)
from tasks.orchestration.missed_schedules import schedule_of_run

_MEND: Final = (
    "Nothing was trained. Mend what brings the events and let the monitor look again; or retrain all the same with "
    "`tailorbird retrain --despite-feed` (`despite_feed` in the form)."
)

_REASONS: Final[dict[Origin, str]] = {"schedule": "its time had come", "person": "a person started it"}


@dataclass(frozen=True)
class Start:
    """The request that a run works on, or why it does not."""

    request_id: int
    claim: Claim | None
    why_not: str = ""
    outcome: str = ""


def begin(installation: Installation, request_id: int | None, despite_feed: bool) -> Start:
    """Claim the request, or a new one when none is given. Nothing is trained from a feed that is known to be broken."""
    request = _ask(installation) if request_id is None else request_id
    claimed = (
        None
        if isinstance(request, Request)
        else claim(installation.engine, request, flow_run.get_id(), _lease(installation))
    )
    if claimed is None:
        return _taken(installation, request.request_id if isinstance(request, Request) else request)
    feed_problem = "" if despite_feed else _broken_feed(installation)
    if feed_problem:
        outcome = f"blocked: the feed is broken ({feed_problem})"
        finish(claimed, FAILED, outcome)
        return Start(
            claimed.request.request_id, None, f"Blocked: the feed is broken ({feed_problem}). {_MEND}", outcome
        )
    return Start(claimed.request.request_id, claimed)


def _ask(installation: Installation) -> int | Request:
    """A request of this run's own, or the one that is open already."""
    origin: Origin = "schedule" if schedule_of_run() else "person"
    with installation.engine.begin() as connection:
        created = request_retraining(connection, origin, _REASONS[origin])
        request = created or open_request(connection)
    if request is None:  # it was closed between the two
        return _ask(installation)
    return request.request_id if created else request


def _taken(installation: Installation, request_id: int) -> Start:
    with installation.engine.connect() as connection:
        request = get_request(connection, request_id)
    name = f"retrain request {request_id} ({request.origin}: {request.reason})"
    page = prefect_pages.flow_run(installation.endpoints, request.flow_run) if request.flow_run else ""
    if request.status == RUNNING:
        reason = (
            f"Nothing was trained here: another run works on {name}. Look at {page or 'the terminal that it runs in'}"
        )
    elif request.status == REQUESTED:
        reason = f"Nothing was trained here: {name} waits for a worker, which `tailorbird up` starts"
    else:
        reason = f"Nothing was trained here: {name} is over: {request.outcome}. Look at {page}"
    return Start(request_id, None, f"{reason}.", request.outcome or request.status)


def _broken_feed(installation: Installation) -> str:
    """What the newest report of the drift monitor says against the feed; empty when it says nothing.

    Reports of before somebody said that what is seen now is usual do not count.
    """
    newest_calibration = select(func.max(drift_calibrations.c.calibration_id)).scalar_subquery()
    claimed = select(drift_reports.c.verdict, drift_reports.c.reasons).where(
        drift_reports.c.calibration_id == newest_calibration
    )
    newest = claimed.order_by(drift_reports.c.report_id.desc()).limit(1)
    with installation.engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None or row.verdict != "invalid_feed":
        return ""
    return "; ".join(row.reasons) or "see the newest drift report"


def _lease(installation: Installation) -> float:
    return installation.settings.retrain_lease_seconds

"""Decides whether a run may retrain: no other run works on its request, and the feed is not known to be broken."""

from dataclasses import dataclass
from typing import Final

from prefect.runtime import flow_run
from sqlalchemy import func, select

from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports
from infra.installation import Installation
from infra.services import prefect_pages
from models.monitoring.drift.retrain_policy import INVALID_FEED
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

_HOW_TO_FIX: Final = (
    "Nothing was trained. Fix the feed and run `tailorbird monitor`; or retrain all the same with "
    "`tailorbird retrain --ignore-feed-check` (`ignore_feed_check` in the form)."
)

_REASONS: Final[dict[Origin, str]] = {"schedule": "its schedule was due", "person": "a person started it"}


@dataclass(frozen=True)
class Start:
    """The request of a run, and its claim or the reason why there is none."""

    request_id: int
    claim: Claim | None
    why_not: str = ""
    outcome: str = ""


def begin(installation: Installation, request_id: int | None, ignore_feed_check: bool) -> Start:
    """Claim the given request or a new one. A feed that is known to be broken blocks the run."""
    request = _own_request(installation) if request_id is None else request_id
    claimed = (
        None
        if isinstance(request, Request)
        else claim(installation.engine, request, flow_run.get_id(), _lease(installation))
    )
    if claimed is None:
        return _not_claimed(installation, request.request_id if isinstance(request, Request) else request)
    feed_problem = "" if ignore_feed_check else _feed_problem(installation)
    if feed_problem:
        outcome = f"blocked: the feed is broken ({feed_problem})"
        finish(claimed, FAILED, outcome)
        return Start(
            claimed.request.request_id, None, f"Blocked: the feed is broken ({feed_problem}). {_HOW_TO_FIX}", outcome
        )
    return Start(claimed.request.request_id, claimed)


def _own_request(installation: Installation) -> int | Request:
    """Return the id of a new request, or the request that is open already."""
    origin: Origin = "schedule" if schedule_of_run() else "person"
    with installation.engine.begin() as connection:
        created = request_retraining(connection, origin, _REASONS[origin])
        request = created or open_request(connection)
    if request is None:  # it was closed between the two statements
        return _own_request(installation)
    return request.request_id if created else request


def _not_claimed(installation: Installation, request_id: int) -> Start:
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


def _feed_problem(installation: Installation) -> str:
    """Return the newest drift report's reasons against the feed; empty without any.

    Reports of earlier calibrations do not count.
    """
    newest_calibration = select(func.max(drift_calibrations.c.calibration_id)).scalar_subquery()
    reports = select(drift_reports.c.verdict, drift_reports.c.reasons).where(
        drift_reports.c.calibration_id == newest_calibration
    )
    newest = reports.order_by(drift_reports.c.report_id.desc()).limit(1)
    with installation.engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None or row.verdict != INVALID_FEED:
        return ""
    return "; ".join(row.reasons) or "see the newest drift report"


def _lease(installation: Installation) -> float:
    return installation.settings.retrain_lease_seconds

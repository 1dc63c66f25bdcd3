"""Whether a run may retrain: nobody else works on its request, and what it would learn from is sound."""

from dataclasses import dataclass
from typing import Final

from prefect.runtime import flow_run
from sqlalchemy import func, select

from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports
from infra.installation import Installation
from infra.services import prefect_pages
from tasks.monitoring.retraining.leases import Claim, claim, finish
from tasks.monitoring.retraining.requests import FAILED, REQUESTED, RUNNING, Origin, Request, ask, of_id, open_request
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
    mine: Claim | None
    why_not: str = ""
    outcome: str = ""


def begin(installation: Installation, request_id: int | None, despite_feed: bool) -> Start:
    """Claim the request, or a new one when none is given. Nothing is trained from a feed that is known to be broken."""
    asked = _ask(installation) if request_id is None else request_id
    mine = (
        None
        if isinstance(asked, Request)
        else claim(installation.engine, asked, flow_run.get_id(), _lease(installation))
    )
    if mine is None:
        return _taken(installation, asked.request_id if isinstance(asked, Request) else asked)
    broken = "" if despite_feed else _broken_feed(installation)
    if broken:
        outcome = f"blocked: the feed is broken ({broken})"
        finish(mine, FAILED, outcome)
        return Start(mine.request.request_id, None, f"Blocked: the feed is broken ({broken}). {_MEND}", outcome)
    return Start(mine.request.request_id, mine)


def _ask(installation: Installation) -> int | Request:
    """A request of this run's own, or the one that is open already."""
    origin: Origin = "schedule" if schedule_of_run() else "person"
    with installation.engine.begin() as connection:
        made = ask(connection, origin, _REASONS[origin])
        found = made or open_request(connection)
    if found is None:  # it was closed between the two
        return _ask(installation)
    return found.request_id if made else found


def _taken(installation: Installation, request_id: int) -> Start:
    with installation.engine.connect() as connection:
        found = of_id(connection, request_id)
    name = f"retrain request {request_id} ({found.origin}: {found.reason})"
    where = prefect_pages.flow_run(installation.endpoints, found.flow_run) if found.flow_run else ""
    if found.status == RUNNING:
        why = (
            f"Nothing was trained here: another run works on {name}. Look at {where or 'the terminal that it runs in'}"
        )
    elif found.status == REQUESTED:
        why = f"Nothing was trained here: {name} waits for a worker, which `tailorbird up` starts"
    else:
        why = f"Nothing was trained here: {name} is over: {found.outcome}. Look at {where}"
    return Start(request_id, None, f"{why}.", found.outcome or found.status)


def _broken_feed(installation: Installation) -> str:
    """What the newest report of the drift monitor says against the feed; empty when it says nothing.

    Reports of before somebody said that what is seen now is usual do not count.
    """
    usual = select(func.max(drift_calibrations.c.calibration_id)).scalar_subquery()
    mine = select(drift_reports.c.verdict, drift_reports.c.reasons).where(drift_reports.c.calibration_id == usual)
    newest = mine.order_by(drift_reports.c.report_id.desc()).limit(1)
    with installation.engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None or row.verdict != "broken":
        return ""
    return "; ".join(row.reasons) or "see the newest drift report"


def _lease(installation: Installation) -> float:
    return installation.settings.retrain_lease_seconds

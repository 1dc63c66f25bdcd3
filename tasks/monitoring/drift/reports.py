"""What was seen and decided in each window, as it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import drift_reports as table
from models.monitoring.drift.calibration.joint_threshold import LATEST_WINDOWS
from models.monitoring.drift.retrain_policy import Decision, DriftSituation, RetrainHistory, verdict
from tasks.monitoring.drift.calibrations import StoredCalibration, moment
from tasks.monitoring.retraining import requests

Report = dict[str, Any]
_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class EvaluatedWindow:
    """A window after the cut, and what was found in it."""

    stored: StoredCalibration
    window: int
    situation: DriftSituation
    decision: Decision


def reports_of(connection: Connection, stored: StoredCalibration) -> list[Report]:
    """Those of a calibration, the latest window last."""
    mine = select(table).where(table.c.calibration_id == stored.calibration_id).order_by(table.c.window_to)
    return [dict(row) for row in connection.execute(mine).mappings()]


def newest_report(connection: Connection) -> Report | None:
    """The last one that was made."""
    row = connection.execute(select(table).order_by(table.c.report_id.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def recent_violations(reports: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether each of the latest windows left its band; what led to a request counts for no other."""
    since = list(takewhile(lambda report: report["decision"] != "retrain", reversed(reports)))
    return [report["verdict"] == "drifted" for report in reversed(since)][-(LATEST_WINDOWS - 1) :]


def retrain_history(connection: Connection) -> RetrainHistory:
    """The retraining there was, for a decision."""
    now: datetime = connection.execute(select(func.now())).scalar_one()
    over = requests.finished(connection)
    lost = list(takewhile(lambda request: request.outcome in requests.LOSING, over))
    open_request = requests.open_request(connection)
    return RetrainHistory(
        open_request=open_request.request_id if open_request else None,
        finished_at=over[0].finished_at if over else None,
        lost=len(lost),
        requests_this_week=requests.count_since(connection, now - _WEEK),
    )


def store_report(connection: Connection, evaluated: EvaluatedWindow) -> Report | None:
    """Store a report, and the request where there is to be one; None when another run has looked at this window.

    Somebody else may have asked for a retraining at the same moment: then there is no second request.
    """
    now, stored = evaluated.situation, evaluated.stored
    begin, end = stored.window(evaluated.window)
    row: dict[str, Any] = {
        "calibration_id": stored.calibration_id,
        "promotion_id": stored.promotion_id,
        "model_version": stored.model_version,
        "window_from": moment(begin),
        "window_to": moment(end),
        "verdict": verdict(now),
        "joint": now.judgement.joint,
        "joint_threshold": now.judgement.threshold,
        "drivers": now.judgement.drivers,
        "signals": [seen.as_dict() for seen in now.judgement.readings],
        "feed": [check.as_dict() for check in now.feed],
        "decision": evaluated.decision.kind,
        "reasons": list(evaluated.decision.reasons),
    }
    statement: Any = insert(table).values(row).on_conflict_do_nothing().returning(table)
    stored_row = connection.execute(statement).mappings().first()
    if stored_row is None or evaluated.decision.kind != "retrain":
        return dict(stored_row) if stored_row else None
    reason = " ".join(evaluated.decision.reasons)
    request = requests.request_retraining(connection, "drift", reason, stored_row["report_id"])
    if request is None:
        reasons = [*row["reasons"], "Another retraining was asked for at the same moment: one at a time."]
        return update_report(connection, stored_row["report_id"], decision="none", reasons=reasons)
    return update_report(connection, stored_row["report_id"], request_id=request.request_id)


def update_report(connection: Connection, report_id: int, **values: Any) -> Report:
    """Add to a report; returns it."""
    changed = update(table).where(table.c.report_id == report_id).values(values)
    return dict(connection.execute(changed.returning(table)).mappings().one())

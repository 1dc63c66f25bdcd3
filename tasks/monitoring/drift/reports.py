"""What was seen and decided in each window, as it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import drift_reports as table
from models.monitoring.drift.calibration.joint_threshold import LATEST
from models.monitoring.drift.retrain_policy import Decision, Retrains, Situation, verdict
from tasks.monitoring.drift.calibrations import Stored, moment
from tasks.monitoring.retraining import requests

Report = dict[str, Any]
_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class Looked:
    """A window after the cut, and what was found in it."""

    stored: Stored
    window: int
    situation: Situation
    decision: Decision


def reports_of(connection: Connection, stored: Stored) -> list[Report]:
    """Those of a calibration, the latest window last."""
    mine = select(table).where(table.c.calibration_id == stored.calibration_id).order_by(table.c.window_to)
    return [dict(row) for row in connection.execute(mine).mappings()]


def newest_report(connection: Connection) -> Report | None:
    """The last one that was made."""
    row = connection.execute(select(table).order_by(table.c.report_id.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def earlier(reports: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether each of the latest windows left its band; what led to a request counts for no other."""
    since = list(takewhile(lambda report: report["decision"] != "retrain", reversed(reports)))
    return [report["verdict"] == "violated" for report in reversed(since)][-(LATEST - 1) :]


def retrains(connection: Connection) -> Retrains:
    """The retraining there was, for a decision."""
    now: datetime = connection.execute(select(func.now())).scalar_one()
    over = requests.finished(connection)
    lost = list(takewhile(lambda request: request.outcome in requests.LOSING, over))
    waits = requests.open_request(connection)
    return Retrains(
        open_request=waits.request_id if waits else None,
        finished_at=over[0].finished_at if over else None,
        lost=len(lost),
        asked_this_week=requests.asked_since(connection, now - _WEEK),
    )


def store(connection: Connection, looked: Looked) -> Report | None:
    """Store a report, and the request where there is to be one; None when another run has looked at this window.

    Somebody else may have asked for a retraining at the same moment: then there is no second request.
    """
    now, stored = looked.situation, looked.stored
    begin, end = stored.window(looked.window)
    row: dict[str, Any] = {
        "calibration_id": stored.calibration_id,
        "promotion_id": stored.promotion_id,
        "model_version": stored.model_version,
        "window_from": moment(begin),
        "window_to": moment(end),
        "verdict": verdict(now),
        "joint": now.judgement.joint,
        "joint_limit": now.judgement.limit,
        "drivers": now.judgement.drivers,
        "signals": [seen.as_dict() for seen in now.judgement.seen],
        "feed": [check.as_dict() for check in now.feed],
        "decision": looked.decision.kind,
        "reasons": list(looked.decision.reasons),
    }
    entered: Any = insert(table).values(row).on_conflict_do_nothing().returning(table)
    made = connection.execute(entered).mappings().first()
    if made is None or looked.decision.kind != "retrain":
        return dict(made) if made else None
    reason = " ".join(looked.decision.reasons)
    asked = requests.ask(connection, "drift", reason, made["report_id"])
    if asked is None:
        told = [*row["reasons"], "Another retraining was asked for at the same moment: one at a time."]
        return change(connection, made["report_id"], decision="none", reasons=told)
    return change(connection, made["report_id"], request_id=asked.request_id)


def change(connection: Connection, report_id: int, **values: Any) -> Report:
    """Add to a report; returns it."""
    changed = update(table).where(table.c.report_id == report_id).values(values)
    return dict(connection.execute(changed.returning(table)).mappings().one())

"""Stores the calibrations of the champion's drift bands and the report of each window, and emits events about it.

A report has the readings of a window, the verdict and the decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Final, TypedDict, cast

from sqlalchemy import Connection, RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import drift_calibrations as calibrations
from infra.database.schema.monitoring_schema import drift_reports as table
from infra.installation import Installation
from infra.prefect_api import events
from models.monitoring.drift.calibration.bands import LATEST_WINDOWS, Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck
from models.monitoring.drift.retrain_policy import (
    DRIFTED,
    INVALID_FEED,
    Decision,
    DriftSituation,
    Kind,
    RetrainHistory,
    Verdict,
    verdict,
)
from models.monitoring.drift.signals.event_columns import DAY
from models.primitives.json_types import JsonObject
from tasks.lake.event_query import Waiting
from tasks.monitoring.retraining import requests
from tasks.orchestration.run_artifacts import flow_run_page
from tasks.promotion.champion import Champion

_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class StoredCalibration:
    """A stored calibration, with the windows that it applies to."""

    calibration_id: int
    promotion_id: int
    model_version: int
    calibration: Calibration
    reference_to: int
    """Epoch seconds at which the windows of the calibration end."""

    @property
    def cut(self) -> int:
        """Epoch seconds at which the first window after the calibration begins."""
        return self.reference_to + self.calibration.skipped_days * DAY

    def window(self, number: int) -> tuple[int, int]:
        """Return when a window after the cut begins and ends, in epoch seconds."""
        length = self.calibration.window_days * DAY
        return self.cut + number * length, self.cut + (number + 1) * length

    def complete(self, newest: int) -> int:
        """Return how many windows are complete, by the newest event."""
        return max(0, (newest - self.cut) // (self.calibration.window_days * DAY))


def calibration_of(connection: Connection, promotion_id: int) -> StoredCalibration | None:
    """Return the newest calibration of a champion, None before the first."""
    newest = select(calibrations).where(calibrations.c.promotion_id == promotion_id)
    row = connection.execute(newest.order_by(calibrations.c.calibration_id.desc()).limit(1)).mappings().first()
    return None if row is None else _stored(row)


def store_calibration(
    connection: Connection, holder: Champion, calibration: Calibration, history: History, made_by: str, reason: str
) -> StoredCalibration:
    """Store a calibration, with the person or component that asked for it and the reason."""
    row = {
        "promotion_id": holder["promotion_id"],
        "model_version": holder["model_version"],
        "window_days": calibration.window_days,
        "windows": calibration.windows,
        "reference_from": moment(history.start),
        "reference_to": moment(history.span(history.cut - 1)[1]),
        "calibration": calibration.as_dict(),
        "made_by": made_by,
        "reason": reason,
    }
    return _stored(connection.execute(insert(calibrations).values(row).returning(calibrations)).mappings().one())


def moment(seconds: float) -> datetime:
    """Return epoch seconds as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _stored(row: RowMapping) -> StoredCalibration:
    calibration = Calibration.from_dict(row["calibration"])
    ids: dict[str, int] = {name: row[name] for name in ("calibration_id", "promotion_id", "model_version")}
    return StoredCalibration(**ids, calibration=calibration, reference_to=int(row["reference_to"].timestamp()))


class DriftReport(TypedDict):
    """A row of `drift_reports`."""

    report_id: int
    calibration_id: int
    promotion_id: int
    model_version: int
    window_from: datetime
    window_to: datetime
    verdict: Verdict
    joint: float
    joint_threshold: float
    drivers: list[str]
    signals: list[JsonObject]
    """The fields of `SignalReading`; `feed` has those of `FeedCheck`."""
    feed: list[JsonObject]
    decision: Kind
    reasons: list[str]
    request_id: int | None
    page: str | None
    created_at: datetime


def reports_of(connection: Connection, stored: StoredCalibration) -> list[DriftReport]:
    """Return the reports of a calibration, the latest window last."""
    query = select(table).where(table.c.calibration_id == stored.calibration_id).order_by(table.c.window_to)
    return [_report(row) for row in connection.execute(query).mappings()]


def newest_report(connection: Connection) -> DriftReport | None:
    """Return the report that was stored last, of any calibration."""
    row = connection.execute(select(table).order_by(table.c.report_id.desc()).limit(1)).mappings().first()
    return _report(row) if row else None


def recent_violations(reports: Sequence[DriftReport]) -> list[bool]:
    """Return whether each of the latest windows drifted; windows up to the last request do not count."""
    since = list(takewhile(lambda report: report["decision"] != "retrain", reversed(reports)))
    return [report["verdict"] == DRIFTED for report in reversed(since)][-(LATEST_WINDOWS - 1) :]


def retrain_history(connection: Connection) -> RetrainHistory:
    """Return the retrainings that a decision depends on."""
    now: datetime = connection.execute(select(func.now())).scalar_one()
    finished = requests.finished(connection)
    lost = list(takewhile(lambda request: request.outcome in requests.LOSING, finished))
    open_request = requests.open_request(connection)
    return RetrainHistory(
        open_request=open_request.request_id if open_request else None,
        finished_at=finished[0].finished_at if finished else None,
        lost=len(lost),
        requests_this_week=requests.count_since(connection, now - _WEEK),
    )


def store_report(
    connection: Connection, stored: StoredCalibration, window: int, now: DriftSituation, decision: Decision
) -> DriftReport | None:
    """Store the report of a window after the cut, and the retrain request if the decision asks for one.

    Return None if another run has stored a report of this window. If another request was made at the same moment, the
    report states so and makes no second one.
    """
    begin, end = stored.window(window)
    values = {
        "calibration_id": stored.calibration_id,
        "promotion_id": stored.promotion_id,
        "model_version": stored.model_version,
        "window_from": moment(begin),
        "window_to": moment(end),
        "verdict": verdict(now),
        "joint": now.judgement.joint,
        "joint_threshold": now.judgement.threshold,
        "drivers": now.judgement.drivers,
        "signals": [reading._asdict() for reading in now.judgement.readings],
        "feed": [check._asdict() for check in now.feed],
        "decision": decision.kind,
        "reasons": list(decision.reasons),
    }
    statement = insert(table).values(values).on_conflict_do_nothing().returning(table)
    row = connection.execute(statement).mappings().first()
    if row is None:
        return None
    if decision.kind != "retrain":
        return _report(row)
    request = requests.request_retraining(connection, "drift", " ".join(decision.reasons), row["report_id"])
    if request is None:
        reasons = [*decision.reasons, "Another retraining was requested at the same moment: one at a time."]
        return update_report(connection, row["report_id"], decision="none", reasons=reasons)
    return update_report(connection, row["report_id"], request_id=request.request_id)


def update_report(connection: Connection, report_id: int, **values: Any) -> DriftReport:
    """Change columns of a report and return it."""
    statement = update(table).where(table.c.report_id == report_id).values(values).returning(table)
    return _report(connection.execute(statement).mappings().one())


def _report(row: RowMapping) -> DriftReport:
    return cast("DriftReport", dict(row))


def emit_report_events(installation: Installation, report: DriftReport) -> None:
    """Emit the events of a report. The reconciler finds a request whose event is lost."""
    payload, page = {"page": flow_run_page(installation)}, f"tailorbird.drift-report.{report['report_id']}"
    why = " ".join(report["reasons"])
    if report["request_id"] is not None:
        resource = events.request_resource(report["request_id"])
        events.try_emit(
            installation.endpoints, events.DRIFT, resource, payload | {"request": report["request_id"], "reason": why}
        )
    if report["decision"] == "blocked":
        events.try_emit(installation.endpoints, events.BROKEN_FEED, page, payload | {"reason": why})
    signals = [name for name in report["drivers"] if name.startswith("realised")]
    if signals and report["verdict"] != INVALID_FEED:
        message = f"{' and '.join(signals)} of the lists that people had: below the usual range."
        events.try_emit(installation.endpoints, events.LOW_ACCURACY, page, payload | {"reason": message})


def emit_waiting_orders(installation: Installation, waiting: Sequence[Waiting]) -> None:
    """Alert about items that fresh visitors of pages bought unusually often."""
    if waiting:
        most = waiting[0]
        others = f", and {len(waiting) - 1} other items were bought so" if len(waiting) > 1 else ""
        reason = (
            f"In the last day {most.purchases} purchases of item {most.item_id} by fresh visitors of the key "
            f"{most.source} exceed what counts{others}. They wait until a server's key or a file states the orders."
        )
        payload = {"reason": reason, "page": flow_run_page(installation)}
        events.try_emit(installation.endpoints, events.UNCONFIRMED_ORDERS, "tailorbird.orders", payload)


def emit_feed_alert(installation: Installation, checks: Sequence[FeedCheck]) -> None:
    """Alert about failed checks of the ledger while no window is complete."""
    failed = [check for check in checks if not check.passed]
    if failed:
        reason = "The feed is broken: " + " ".join(f"{check.check}: {check.detail}." for check in failed)
        events.try_emit(installation.endpoints, events.BROKEN_FEED, "tailorbird.feed", {"reason": reason, "page": ""})

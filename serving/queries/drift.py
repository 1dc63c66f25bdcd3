"""Reads the champion's drift calibration and the latest windows."""

from typing import Final, TypedDict, cast

from sqlalchemy import Engine, RowMapping, text

from models.primitives.json_types import JsonObject

_CALIBRATION: Final = """
    SELECT calibration_id, model_version, window_days, windows, reference_from, reference_to, made_by, reason,
        (calibration ->> 'limit')::float AS joint_threshold, (calibration ->> 'between')::float AS windows_between,
        (calibration ->> 'false_alarms')::float AS false_alarm_rate
    FROM drift_calibrations ORDER BY calibration_id DESC LIMIT 1
"""
_REPORTS: Final = """
    SELECT report_id, model_version, window_from, window_to, verdict, joint, joint_threshold, drivers, signals, feed,
        decision, reasons, request_id, page
    FROM drift_reports ORDER BY window_to DESC, report_id DESC LIMIT :limit
"""


class CalibrationRow(TypedDict):
    """The newest calibration: the reference windows and their limits. Times are ISO texts."""

    calibration_id: int
    model_version: int
    window_days: int
    windows: int
    reference_from: str
    reference_to: str
    made_by: str
    reason: str
    joint_threshold: float
    windows_between: float
    false_alarm_rate: float


class WindowRow(TypedDict):
    """One window and its verdict. Times are ISO texts."""

    report_id: int
    model_version: int
    window_from: str
    window_to: str
    verdict: str
    joint: float | None
    joint_threshold: float | None
    drivers: list[str]
    signals: list[JsonObject]
    feed: list[JsonObject]
    decision: str
    reasons: list[str]
    request_id: int | None
    page: str | None


class DriftHistory(TypedDict):
    """The calibration, None before the first one, and the windows, the latest first."""

    usual: CalibrationRow | None
    windows: list[WindowRow]


def drift(engine: Engine, limit: int = 10) -> DriftHistory:
    """Return the newest calibration and the latest windows."""
    with engine.connect() as connection:
        calibration = connection.execute(text(_CALIBRATION)).mappings().first()
        rows = connection.execute(text(_REPORTS), {"limit": limit}).mappings().all()
    usual = cast(CalibrationRow, _plain(calibration)) if calibration else None
    return {"usual": usual, "windows": [cast(WindowRow, _plain(row)) for row in rows]}


def _plain(row: RowMapping) -> JsonObject:
    """Return a row with its times as ISO texts."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}

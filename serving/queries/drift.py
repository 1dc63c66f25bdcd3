"""What drift was seen in: the champion's calibration, and the latest windows."""

from typing import Any, Final

from sqlalchemy import Engine, text

_USUAL: Final = """
    SELECT calibration_id, model_version, window_days, windows, reference_from, reference_to, made_by, reason,
        (calibration ->> 'limit')::float AS joint_threshold, (calibration ->> 'between')::float AS windows_between,
        (calibration ->> 'false_alarms')::float AS false_alarm_rate
    FROM drift_calibrations ORDER BY calibration_id DESC LIMIT 1
"""
_REPORTS: Final = """
    SELECT report_id, model_version, window_from, window_to, verdict, joint, joint_threshold, drivers, signals, feed,
        decision, reasons, request_id, page
    FROM drift_reports ORDER BY window_to DESC, report_id DESC LIMIT :most
"""


def drift(engine: Engine, most: int = 10) -> dict[str, Any]:
    """`usual`, None before the first calibration, and `windows`, the latest first; times as ISO texts."""
    with engine.connect() as connection:
        usual = connection.execute(text(_USUAL)).mappings().first()
        rows = connection.execute(text(_REPORTS), {"most": most}).mappings().all()
    return {"usual": _plain(usual) if usual else None, "windows": [_plain(row) for row in rows]}


def _plain(row: Any) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}

"""What is usual, as it is stored with the champion."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import drift_calibrations as table
from models.monitoring.drift.calibration.calibrate import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY
from tasks.promotion.champion import Champion


@dataclass(frozen=True)
class StoredCalibration:
    """A calibration, and which windows it is about."""

    calibration_id: int
    promotion_id: int
    model_version: int
    calibration: Calibration
    cut: int
    """When the first window after it begins (epoch s)."""

    def window(self, number: int) -> tuple[int, int]:
        """When a window after the cut begins and ends."""
        length = self.calibration.window_days * DAY
        return self.cut + number * length, self.cut + (number + 1) * length

    def complete(self, newest: int) -> int:
        """How many windows are over, by the newest event there is."""
        return max(0, (newest - self.cut) // (self.calibration.window_days * DAY))


def calibration_of(connection: Connection, promotion_id: int) -> StoredCalibration | None:
    """The newest calibration of a champion, None before the first."""
    newest = select(table).where(table.c.promotion_id == promotion_id).order_by(table.c.calibration_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else _stored(row)


def store_calibration(
    connection: Connection, holder: Champion, calibration: Calibration, history: History, made_by: str, reason: str
) -> StoredCalibration:
    """Store what was learned from a history, with who asked for it and why."""
    row = {
        "promotion_id": holder["promotion_id"],
        "model_version": holder["model_version"],
        "window_days": calibration.window_days,
        "windows": calibration.windows,
        "reference_from": moment(history.start),
        "reference_to": moment(history.span(history.cut)[0]),
        "calibration": calibration.as_dict(),
        "made_by": made_by,
        "reason": reason,
    }
    return _stored(connection.execute(insert(table).values(row).returning(table)).mappings().one())


def moment(seconds: float) -> datetime:
    """Epoch seconds as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def _stored(row: Any) -> StoredCalibration:
    calibration = Calibration.from_dict(row["calibration"])
    ids: dict[str, int] = {name: row[name] for name in ("calibration_id", "promotion_id", "model_version")}
    return StoredCalibration(**ids, calibration=calibration, cut=int(row["reference_to"].timestamp()))

"""Stores calibrations of the champion's drift bands."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import drift_calibrations as table
from models.monitoring.drift.calibration.calibrate import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY
from tasks.promotion.champion import Champion


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
    newest = select(table).where(table.c.promotion_id == promotion_id).order_by(table.c.calibration_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
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
    return _stored(connection.execute(insert(table).values(row).returning(table)).mappings().one())


def moment(seconds: float) -> datetime:
    """Return epoch seconds as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _stored(row: RowMapping) -> StoredCalibration:
    calibration = Calibration.from_dict(row["calibration"])
    ids: dict[str, int] = {name: row[name] for name in ("calibration_id", "promotion_id", "model_version")}
    return StoredCalibration(**ids, calibration=calibration, reference_to=int(row["reference_to"].timestamp()))

"""Starts the monitor once after a promotion, so it learns the usual range of each signal from the data so far."""

from datetime import timedelta
from typing import Final

from sqlalchemy import select

from infra.database.clock import database_now
from infra.database.schema.monitoring_schema import drift_calibrations
from infra.installation import Installation
from infra.prefect_api import deployments
from tasks.promotion.champion import current_champion

_GRACE: Final = timedelta(minutes=2)
"""The lists of the new champion are made first."""


def start_calibration(installation: Installation) -> str | None:
    """Start `monitor` once per promotion if the champion has no calibration; returns a line about it, or None.

    If there is too little history, the daily run tries again.
    """
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
        known = drift_calibrations.c.promotion_id == (champion["promotion_id"] if champion else 0)
        done = connection.execute(select(drift_calibrations.c.calibration_id).where(known).limit(1)).first()
        now = database_now(connection)
    if champion is None or done is not None or now - champion["promoted_at"] < _GRACE:
        return None
    key = f"calibration of promotion {champion['promotion_id']}"
    if not deployments.start_run(installation.endpoints, "monitor", key, {}):
        return None
    return f"The drift monitor is being calibrated for version {champion['model_version']}."

"""After a promotion: starts the monitor once, so that what is usual is learned before anything new has happened."""

from datetime import timedelta
from typing import Final

from sqlalchemy import select

from infra.database.clock import database_now
from infra.database.schema.monitoring_schema import drift_calibrations
from infra.installation import Installation
from infra.prefect_api import deployments
from tasks.promotion.champion import current_champion

_GRACE: Final = timedelta(minutes=2)
"""Lists for people are made first."""


def start_calibration(installation: Installation) -> str | None:
    """Start `monitor` when the champion has no calibration, once a promotion; returns what was done, None for nothing.

    Where there is too little history for one the daily run tries again.
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
    return f"What is usual is being learned for version {champion['model_version']}."

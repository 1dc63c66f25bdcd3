"""Keeps the lake small."""

from typing import Any

from prefect import flow

from tasks.lake.compact_lake import compact_lake
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show
from tasks.orchestration.table_columns import facts


@flow(flow_run_name="compact the lake")
def compact(keep_days: int = 7) -> dict[str, Any]:
    """Merge the small files of the lake's events, and delete those that no kept version needs. No row changes.

    Args:
        keep_days: How long an older version stays readable. Versions that a data set names always do.
    """
    drop_missed_slots()
    done = compact_lake(keep_days)
    if done:
        show("lake", "The lake's events", facts(done))
    return done

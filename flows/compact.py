"""Compacts the lake."""

from prefect import flow

from models.primitives.json_types import JsonObject
from tasks.lake.compact_lake import compact_lake
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import facts, show


@flow(flow_run_name="compact the lake")
def compact(keep_days: int = 7) -> JsonObject:
    """Merge small files of the lake's events, and delete files that no kept version needs. No row changes.

    Args:
        keep_days: How many days an older version stays readable. Versions that a data set uses always stay.
    """
    drop_missed_slots()
    report = compact_lake(keep_days)
    if report:
        show("lake", "The lake's events", facts(report))
    return report

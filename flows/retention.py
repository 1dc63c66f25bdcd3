"""Deletes old events of the lake."""

from prefect import flow

from infra.installation import current
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show
from tasks.privacy.retention import old_events, remove_old_events


@flow(flow_run_name="delete old events")
def retention(dry_run: bool = False) -> list[dict[str, str | int]]:
    """Delete the events that the table `retention` of tailorbird.toml keeps no longer, and return them by month.

    Args:
        dry_run: Only count what would be deleted.
    """
    drop_missed_slots()
    months = old_events(current()) if dry_run else remove_old_events(current())
    rows: list[dict[str, str | int]] = [month._asdict() for month in months]
    show("retention", "Events that would be deleted" if dry_run else "Events that were deleted", rows)
    return rows

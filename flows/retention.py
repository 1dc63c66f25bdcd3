"""Deletes old events of the lake, and old runs of MLflow."""

from prefect import flow

from infra.installation import current
from infra.registry.client import Registry
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show
from tasks.privacy.retention import Ended, old_events, old_runs, remove_old_events


@flow(flow_run_name="delete old data")
def retention(dry_run: bool = False) -> list[dict[str, str | int | None]]:
    """Delete events and MLflow's runs that the table `retention` of tailorbird.toml keeps no longer; return their sums.

    While MLflow does not answer, its runs stay.

    Args:
        dry_run: Only count what would be deleted.
    """
    drop_missed_slots()
    here = current()
    ended = old_events(here) if dry_run else remove_old_events(here)
    registry = Registry(here.endpoints.mlflow_tracking_uri)
    runs = old_runs(here, registry) if registry.is_available else []
    if not dry_run:
        registry.delete_runs(runs)
    if runs:
        ended.append(Ended("runs in MLflow", len(runs)))
    rows: list[dict[str, str | int | None]] = [one._asdict() for one in ended]
    show("retention", "Data that would be deleted" if dry_run else "Data that were deleted", rows)
    return rows

"""Backs up the installation."""

from prefect import flow

from infra.backup.create import create_backup
from infra.installation import current
from models.primitives.json_types import JsonObject
from tasks.orchestration.form_fields import Words
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import facts, show


@flow(flow_run_name="back up")
def backup(place: Words, keep: int | None = None) -> JsonObject:
    """Store a backup of databases, lake, bundles, artifacts and secrets while everything runs; return its summary.

    Args:
        place: A folder, or an address such as s3://bucket/backups.
        keep: How many backups to keep there; older ones are deleted. By default all.
    """
    drop_missed_slots()
    with progress("back up", 3) as advance:
        row = create_backup(current(), place, keep, advance).row()
    show("backup", "The backup", facts(row))
    return row

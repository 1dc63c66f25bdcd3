"""Compacts the lake."""

from dataclasses import asdict

from prefect import task

from infra import locks
from infra.database.engine import database_now
from infra.installation import current
from infra.lake import compaction
from infra.lake.compaction import dataset_versions
from models.primitives.json_types import JsonObject
from tasks.orchestration.run_artifacts import announce


@task(description="Merge the small files of the lake's events; delete files that no version needs.")
def compact_lake(keep_days: int = 7) -> JsonObject:
    """Compact the events table; returns its files and bytes before and after, or nothing before the first ingest.

    Waits for a running ingest, as an ingest waits for a compaction. No row changes, and versions that data sets name
    stay readable. A build of a data set that began before may take up to `keep_days`.
    """
    installation = current()
    with locks.locked(installation.engine, "the lake's events", wait=True):
        with installation.engine.connect() as connection:
            now = database_now(connection)
        report = installation.lake.compact(now, keep_days, dataset_versions(installation.engine))
    return asdict(report) if report else {}


def advise_compaction() -> None:
    """Announce the command that merges small files, if there are many of them."""
    table = current().lake.events()
    advice = compaction.advice(compaction.months(table)) if table is not None else None
    if advice:
        announce(advice)

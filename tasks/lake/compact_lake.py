"""Keeps the lake small."""

from typing import Any

from prefect import task

from infra.database.clock import database_now
from infra.installation import current
from infra.lake.compaction import dataset_versions
from infra.locks import advisory_locks


@task(description="Merge the small files of the lake's events; delete what nobody needs any more.")
def compact_lake(keep_days: int = 7) -> dict[str, Any]:
    """Compact the events table; returns its files and bytes before and after, or nothing before the first ingest.

    Waits for an ingest that is under way, as an ingest waits for it. No row changes, and a version that a data set
    names stays readable. `keep_days` is also how long a build of a data set may take that began before.
    """
    installation = current()
    with advisory_locks.locked(installation.engine, "the lake's events", wait=True):
        with installation.engine.connect() as connection:
            now = database_now(connection)
        return installation.lake.compact(now, keep_days, dataset_versions(installation.engine))

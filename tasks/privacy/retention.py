"""Deletes events of the lake, by whole months, and runs of MLflow that the settings of `retention` keep no longer."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction
from sqlalchemy import text

from infra import locks
from infra.configuration.retention import FOR_EVER, Retention, seconds
from infra.database.engine import database_now
from infra.installation import Installation
from infra.lake import compaction
from infra.lake.compaction import purge
from infra.registry.client import Registry
from models import columns
from models.datasets.labels import IMPRESSION
from models.primitives.arrow_sql import literal
from tasks.ingest.ledger import record_deleted
from tasks.privacy.rekeyed_data import update_manifests

_MARK: Final = "retention of events"
_COMPARED: Final = """
    SELECT run_id FROM trained_bundles WHERE dataset_version IN (
        (SELECT dataset_version FROM promotions ORDER BY promotion_id DESC LIMIT 1),
        (SELECT version FROM datasets ORDER BY created_at DESC LIMIT 1))"""
_DONE, _OPEN = 0, 1
"""Values of the mark: after a stop, files and manifests of a deletion are still open."""


class Ended(NamedTuple):
    """Data whose period has ended."""

    store: str
    rows: int
    bytes: int | None = None
    """A share of the files of a month."""


def old_events(installation: Installation) -> list[Ended]:
    """Return the events by month that a deletion would delete now."""
    table = installation.lake.events()
    return _by_month(table, _old(table, _condition(installation, table))) if table else []


def remove_old_events(installation: Installation) -> list[Ended]:
    """Delete events whose period has ended, with all files and logs of earlier versions; returns them by month.

    One commit deletes all of them. After a stop the same call deletes the files that are left. Raises WorkRunsError
    while other work uses the lake.
    """
    lake, engine = installation.lake, installation.engine
    with locks.exclusive(engine, "retention", "Old events cannot be deleted") as confirm:
        table = lake.events()
        if table is None:
            return []
        ended = _condition(installation, table)
        old = _old(table, ended)
        months = _by_month(table, old)
        if months:
            done = CommitProperties(app_transactions=[Transaction(_MARK, _OPEN)])
            table.delete(ended, commit_properties=done)
            with engine.begin() as connection:
                record_deleted(connection, _sums(old, columns.BATCH_ID))
        if lake.committed_chunk(_MARK) == _OPEN:
            purge(table)
            confirm()
            with engine.begin() as connection:
                update_manifests(connection, lake)
            lake.claim(_MARK, _DONE)
    return months


def old_runs(installation: Installation, registry: Registry) -> list[str]:
    """Return the ids of runs of MLflow whose period has ended.

    Runs of registered versions stay, and trainings on the newest data set or on the champion's: reviews compare them.
    """
    period = installation.settings.retention.mlflow_runs
    if period == FOR_EVER:
        return []
    with installation.engine.connect() as connection:
        before = database_now(connection) - timedelta(seconds=seconds(period))
        needed = set(connection.execute(text(_COMPARED)).scalars())
    return registry.runs_before(before, needed)


def _first(now: datetime, period: str) -> str:
    """Return the month in which a period before now begins, which stays; no month is before the empty one."""
    return FOR_EVER if period == FOR_EVER else f"{now - timedelta(seconds=seconds(period)):%Y-%m}"


def _old(table: DeltaTable, ended: str) -> pa.Table:
    """Return the number of events whose period has ended, by month and batch."""
    names = f"{columns.MONTH}, {columns.BATCH_ID}"
    counted = f"SELECT {names}, count(*) AS rows FROM events WHERE {ended} GROUP BY {names}"
    return pa.table(QueryBuilder().register("events", table).execute(counted))


def _by_month(table: DeltaTable, old: pa.Table) -> list[Ended]:
    rows = _sums(old, columns.MONTH)
    return [
        Ended(f"events of {month.month}", rows[month.month], month.bytes * rows[month.month] // month.rows)
        for month in compaction.months(table)
        if month.month in rows
    ]


def _sums(old: pa.Table, name: str) -> Counter[str]:
    # PyArrow cannot group by the texts of DataFusion (string_view).
    total: Counter[str] = Counter()
    for row in old.to_pylist():
        total[row[name]] += row["rows"]
    return total


def _condition(installation: Installation, table: DeltaTable) -> str:
    """Return the SQL of events whose period has ended."""
    with installation.engine.connect() as connection:
        now = database_now(connection)
    chosen: Retention = installation.settings.retention
    first = f"'{_first(now, chosen.events)}'"
    if chosen.sources and columns.SOURCE in {field.name for field in table.schema().fields}:
        own = (f"WHEN {literal(name)} THEN '{_first(now, period)}'" for name, period in chosen.sources.items())
        first = f"CASE {columns.SOURCE} {' '.join(own)} ELSE {first} END"
    shown = f"{columns.EVENT_TYPE} = '{IMPRESSION}' AND {columns.MONTH} < '{_first(now, chosen.impressions)}'"
    return f"{columns.MONTH} < {first} OR {shown}"

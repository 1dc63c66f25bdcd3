"""Deletes the events of the lake that the settings of `retention` keep no longer, by whole months."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction

from infra import locks
from infra.configuration.retention import FOR_EVER, Retention, seconds
from infra.database.engine import database_now
from infra.installation import Installation
from infra.lake import compaction
from infra.lake.rewriting import purge
from models import columns
from tasks.ingest.ledger import record_deleted
from tasks.privacy.rekeyed_lake import update_manifests

_MARK: Final = "retention of events"
_DONE, _OPEN = 0, 1
"""Values of the mark: after a stop, files and manifests of a deletion are still open."""


class OldEvents(NamedTuple):
    """Events of one month whose period has ended. The bytes are a share of the month's files."""

    month: str
    rows: int
    bytes: int


class _Limits(NamedTuple):
    """The first months that stay: of all events, and of sources with a period of their own."""

    others: str
    sources: dict[str, str]


def old_events(installation: Installation) -> list[OldEvents]:
    """Return the events by month that a deletion would delete now."""
    table = installation.lake.events()
    return _by_month(table, _old(table, _limits(installation))) if table else []


def remove_old_events(installation: Installation) -> list[OldEvents]:
    """Delete events whose period has ended, with all files and logs of earlier versions; returns them by month.

    One commit deletes all of them. After a stop the same call deletes the files that are left. Raises WorkRunsError
    while other work uses the lake.
    """
    lake, engine = installation.lake, installation.engine
    with locks.exclusive(engine, "retention", "Old events cannot be deleted") as confirm:
        table = lake.events()
        if table is None:
            return []
        limits = _limits(installation)
        old = _old(table, limits)
        months = _by_month(table, old)
        if months:
            done = CommitProperties(app_transactions=[Transaction(_MARK, _OPEN)])
            table.delete(_condition(table, limits), commit_properties=done)
            with engine.begin() as connection:
                record_deleted(connection, _sums(old, columns.BATCH_ID))
        if lake.committed_chunk(_MARK) == _OPEN:
            purge(table)
            confirm()
            with engine.begin() as connection:
                update_manifests(connection, lake)
            lake.claim(_MARK, _DONE)
    return months


def _limits(installation: Installation) -> _Limits:
    with installation.engine.connect() as connection:
        now = database_now(connection)
    chosen: Retention = installation.settings.retention
    return _Limits(_first(now, chosen.events), {name: _first(now, own) for name, own in chosen.sources.items()})


def _first(now: datetime, period: str) -> str:
    """Return the month in which a period before now begins, which stays; no month is before the empty one."""
    return FOR_EVER if period == FOR_EVER else f"{now - timedelta(seconds=seconds(period)):%Y-%m}"


def _old(table: DeltaTable, limits: _Limits) -> pa.Table:
    """Return the number of events whose period has ended, by month and batch."""
    names = f"{columns.MONTH}, {columns.BATCH_ID}"
    counted = f"SELECT {names}, count(*) AS rows FROM events WHERE {_condition(table, limits)} GROUP BY {names}"
    return pa.table(QueryBuilder().register("events", table).execute(counted))


def _by_month(table: DeltaTable, old: pa.Table) -> list[OldEvents]:
    rows = _sums(old, columns.MONTH)
    return [
        OldEvents(month.month, rows[month.month], month.bytes * rows[month.month] // month.rows)
        for month in compaction.months(table)
        if month.month in rows
    ]


def _sums(old: pa.Table, name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in old.to_pylist():
        total[row[name]] += row["rows"]
    return total


def _condition(table: DeltaTable, limits: _Limits) -> str:
    """Return the SQL of events whose period has ended."""
    others = f"{columns.MONTH} < '{limits.others}'"
    if not (limits.sources and _has_sources(table)):
        return others
    names = {name: "'" + name.replace("'", "''") + "'" for name in limits.sources}
    own = [
        f"({columns.SOURCE} = {names[name]} AND {columns.MONTH} < '{first}')" for name, first in limits.sources.items()
    ]
    others += f" AND ({columns.SOURCE} IS NULL OR {columns.SOURCE} NOT IN ({', '.join(names.values())}))"
    return " OR ".join([f"({others})", *own])


def _has_sources(table: DeltaTable) -> bool:
    return columns.SOURCE in {field.name for field in table.schema().fields}

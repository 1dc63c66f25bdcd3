"""Deletes the events of the lake that the settings of `retention` keep no longer, by whole months."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction

from infra import locks
from infra.configuration.retention import FOR_EVER, Retention, seconds
from infra.database.engine import database_now
from infra.installation import Installation
from infra.lake import compaction
from infra.lake.rewriting import purge
from models import columns
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
    return list(_old(table, _limits(installation))) if table else []


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
        old = list(_old(table, limits))
        if old:
            done = CommitProperties(app_transactions=[Transaction(_MARK, _OPEN)])
            table.delete(_condition(table, limits), commit_properties=done)
        if lake.committed_chunk(_MARK) == _OPEN:
            purge(table)
            confirm()
            with engine.begin() as connection:
                update_manifests(connection, lake)
            lake.claim(_MARK, _DONE)
    return old


def _limits(installation: Installation) -> _Limits:
    with installation.engine.connect() as connection:
        now = database_now(connection)
    chosen: Retention = installation.settings.retention
    return _Limits(_first(now, chosen.events), {name: _first(now, own) for name, own in chosen.sources.items()})


def _first(now: datetime, period: str) -> str:
    """Return the month in which a period before now begins, which stays; no month is before the empty one."""
    return FOR_EVER if period == FOR_EVER else f"{now - timedelta(seconds=seconds(period)):%Y-%m}"


def _old(table: DeltaTable, limits: _Limits) -> Iterator[OldEvents]:
    rows, known = table.to_pyarrow_dataset(), _has_sources(table)
    for month in compaction.months(table):
        ended = [name for name, first in limits.sources.items() if month.month < first]
        chosen = pc.scalar(month.month < limits.others)
        if known:
            source = pc.field(columns.SOURCE)
            chosen = (chosen & ~source.isin(pa.array(limits.sources, pa.string()))) | source.isin(
                pa.array(ended, pa.string())
            )
        if month.month < max(limits.others, *limits.sources.values(), FOR_EVER):
            count = rows.count_rows(filter=(pc.field(columns.MONTH) == month.month) & chosen)
            if count:
                yield OldEvents(month.month, count, month.bytes * count // month.rows)


def _condition(table: DeltaTable, limits: _Limits) -> str:
    """Return the SQL of the events that `_old` counts."""
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

"""Reads from Postgres which ingests and undos are running or were interrupted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from infra.database.schema.ledger_schema import PENDING
from models.monitoring.guidance.situation import CutShort
from models.primitives.json_types import JsonObject

_UNFINISHED: Final = text("""
    SELECT batch_id, dataset, source, location, request, status, EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = hashtextextended(batch_id, 0)
    ) AS active
    FROM ingest_batches WHERE status IN ('pending', 'undoing') ORDER BY started_at, location, batch_id
""")
"""An ingest and an undo hold the lock of their batch; a killed process loses it."""


@dataclass(frozen=True)
class UnfinishedBatch:
    """A batch whose ingest or undo is running or was interrupted."""

    batch_id: str
    dataset: str
    source: str
    location: str
    request: JsonObject
    """The parameters of its ingest."""
    status: str
    active: bool
    """Whether a process works on it now."""


def unfinished(connection: Connection) -> list[UnfinishedBatch]:
    """Return the batches whose ingest or undo is not finished; those that are not `active` were interrupted."""
    return [UnfinishedBatch(**row) for row in connection.execute(_UNFINISHED).mappings()]


def cut_short(batches: Iterable[UnfinishedBatch]) -> tuple[CutShort, ...]:
    """Return the interrupted ingests among unfinished batches, grouped by their source and parameters."""
    files: dict[_Ingest, list[str]] = {}
    for batch in batches:
        if batch.status == PENDING and not batch.active:
            overrides = batch.request.get("overrides") or {}
            mapping = batch.request.get("mapping", batch.source)
            sql = batch.request.get("sql") or {}
            options = tuple(sorted((sql.get("options") or {}).items()))
            key = _Ingest(batch.source, mapping, tuple(sorted(overrides.items())), sql.get("url", ""), options)
            files.setdefault(key, []).append(batch.location)
    return tuple(
        CutShort(ingest.source, ingest.mapping, tuple(places), dict(ingest.overrides), ingest.url, dict(ingest.options))
        for ingest, places in files.items()
    )


class _Ingest(NamedTuple):
    """The source and the parameters of an ingest."""

    source: str
    mapping: str
    overrides: tuple[tuple[str, str], ...]
    url: str
    """The address of a database; empty for files."""
    options: tuple[tuple[str, str], ...]

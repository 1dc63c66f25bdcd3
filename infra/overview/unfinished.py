"""Reads from Postgres which batches are coming in, being undone, or were cut short."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

from infra.database.schema.ledger_schema import PENDING
from models.monitoring.guidance.cut_short import CutShort

_UNFINISHED: Final = text("""
    SELECT batch_id, dataset, source, location, request, status, EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = hashtextextended(batch_id, 0)
    ) AS active
    FROM ingest_batches WHERE status IN ('pending', 'undoing') ORDER BY started_at, location, batch_id
""")
"""An ingest and an undo hold the lock of their batch; a killed process cannot keep it."""


def unfinished(connection: Connection) -> list[dict[str, Any]]:
    """Return the batches that are coming in or being undone; those that are not `active` were cut short."""
    return [dict(row) for row in connection.execute(_UNFINISHED).mappings()]


def cut_short(batches: Iterable[Mapping[str, Any]]) -> tuple[CutShort, ...]:
    """Return the ingests among unfinished batches that were cut short, one for the files of a source."""
    files: dict[tuple[Any, ...], list[str]] = {}
    for batch in batches:
        if batch["status"] == PENDING and not batch["active"]:
            overrides = batch["request"].get("overrides") or {}
            mapping = batch["request"].get("mapping", batch["source"])
            files.setdefault((batch["source"], mapping, *sorted(overrides.items())), []).append(batch["location"])
    return tuple(
        CutShort(source, mapping, tuple(places), dict(overrides))
        for (source, mapping, *overrides), places in files.items()
    )

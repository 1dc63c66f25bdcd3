"""Reads from Postgres which batches have quarantined corrections, and which earlier batches hold the old values."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from models.ingest.check.advice import CONFLICT
from models.ingest.check.file_names import file_name
from models.monitoring.guidance.situation import Correction

_CONFLICTS: Final = text("""
    SELECT entry.batch_id, batch.location, count(*) AS rows FROM quarantine AS entry
    JOIN ingest_batches AS batch USING (batch_id)
    WHERE entry.batch_id = ANY(:batches) AND entry.replayed_at IS NULL AND :rule = ANY(entry.rule_ids)
    GROUP BY 1, 2
""")
# An earlier version of a file has the same name and mostly the same events. Exports of other weeks under the same name
# do not count: their undo would remove events that this file lacks.
_EARLIER: Final = text("""
    SELECT other.batch_id FROM ingest_batches AS batch
    JOIN ingest_batches AS other ON other.source = batch.source AND other.dataset = batch.dataset
        AND other.batch_id <> batch.batch_id AND other.started_at < batch.started_at AND other.status = 'committed'
        AND regexp_replace(other.location, '.*/', '') = regexp_replace(batch.location, '.*/', '')
        AND 2 * (batch.duplicate + :rows) >= greatest(batch.read, other.accepted)
    WHERE batch.batch_id = :batch_id ORDER BY other.started_at DESC, other.batch_id
""")


def corrections(connection: Connection, batches: Sequence[str]) -> dict[str, Correction]:
    """Return, by batch, the rows that wait because an accepted row has their id and other values."""
    by_batch = {}
    conflicts = connection.execute(_CONFLICTS, {"batches": list(batches), "rule": CONFLICT})
    for batch_id, location, rows in conflicts.all():
        earlier = connection.execute(_EARLIER, {"batch_id": batch_id, "rows": rows}).scalars().all()
        by_batch[batch_id] = Correction(batch_id, file_name(location), int(rows), tuple(earlier))
    return by_batch

"""Reads from Postgres which batches wait with corrections, and which earlier batches have the values of before."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from models.ingest.check.file_names import file_name
from models.ingest.check.rule_advice import CONFLICT
from models.monitoring.guidance.correction import Correction

_CONFLICTS: Final = text("""
    SELECT entry.batch_id, batch.location, count(*) AS rows FROM quarantine AS entry
    JOIN ingest_batches AS batch USING (batch_id)
    WHERE entry.batch_id = ANY(:batches) AND entry.replayed_at IS NULL AND :rule = ANY(entry.rule_ids)
    GROUP BY 1, 2
""")
# An earlier version of the file has its name, and this one has mostly the events of it. Exports of other weeks under
# the same name are none: their undo would remove events that this file lacks.
_EARLIER: Final = text("""
    SELECT other.batch_id FROM ingest_batches AS mine
    JOIN ingest_batches AS other ON other.source = mine.source AND other.dataset = mine.dataset
        AND other.batch_id <> mine.batch_id AND other.started_at < mine.started_at AND other.status = 'committed'
        AND regexp_replace(other.location, '.*/', '') = regexp_replace(mine.location, '.*/', '')
        AND 2 * (mine.duplicate + :rows) >= greatest(mine.read, other.accepted)
    WHERE mine.batch_id = :batch_id ORDER BY other.started_at DESC, other.batch_id
""")


def corrections(connection: Connection, batches: Sequence[str]) -> dict[str, Correction]:
    """Return by batch how many rows wait because an accepted row has their id and other values; none for most."""
    by_batch = {}
    conflicts = connection.execute(_CONFLICTS, {"batches": list(batches), "rule": CONFLICT})
    for batch_id, location, rows in conflicts.all():
        earlier = connection.execute(_EARLIER, {"batch_id": batch_id, "rows": rows}).scalars().all()
        by_batch[batch_id] = Correction(batch_id, file_name(location), int(rows), tuple(earlier))
    return by_batch

"""Finds data sets that contain a batch that was undone later, if the undo changed their content."""

import json
from typing import Final

from sqlalchemy import Connection, text

from infra.database.schema.ledger_schema import UNDO_CHANGES

_BUILT: Final = text("""
    SELECT made.version, array_agg(DISTINCT entry.batch_id ORDER BY entry.batch_id)
    FROM ingest_batches AS entry
    JOIN audit_log AS log ON log.subject = entry.batch_id AND log.action = 'undo'
        AND NOT log.detail @> CAST(:unchanged AS jsonb)
    JOIN datasets AS made
        ON made.created_at BETWEEN coalesce((log.detail ->> 'applied_at')::timestamptz, entry.started_at) AND log.at
    WHERE entry.status IN ('undoing', 'undone') GROUP BY made.version
""")


def undone_batches(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return the undone batches that each data set still contains, by data set."""
    built = connection.execute(_BUILT, {"unchanged": json.dumps(dict.fromkeys(UNDO_CHANGES, 0))}).tuples()
    return {version: tuple(batches) for version, batches in built}

"""Commits the batches of a group, with the same result as one commit after the other."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from tasks.ingest import ledger
from tasks.ingest.quarantine.resolved_rows import base_name, close_resolved, same_content

_RESOLVING: Final = """
    WITH earlier AS MATERIALIZED (
        SELECT regexp_replace(location, '.*/', '') AS name,
            :prefix || split_part(substr(batch_id, length(:prefix) + 1), '-', 1) || '-' AS same_content
        FROM ingest_batches
        WHERE source = :source AND dataset = :dataset AND status = 'committed' AND quarantined > 0
    )
    SELECT batch_id FROM unnest(CAST(:batch_ids AS text[]), CAST(:contents AS text[]), CAST(:names AS text[]))
        AS coming (batch_id, same_content, name)
    WHERE name IN (SELECT name FROM earlier) OR same_content IN (SELECT same_content FROM earlier)
        OR EXISTS (SELECT FROM quarantine WHERE resolved_by = coming.batch_id)
        OR EXISTS (SELECT FROM quarantine JOIN ingest_batches AS batch USING (batch_id)
            WHERE quarantine.outcome = 'dismissed' AND batch.source = :source AND batch.dataset = :dataset)"""


def close_group(connection: Connection, batches: Sequence[ledger.Batch], verdicts: Sequence[ledger.Verdict]) -> None:
    """Commit batches of one source in their order, and close the quarantined rows that they resolve.

    A batch resolves rows of earlier batches only, so the later ones are committed after that.
    """
    resolving = _resolving(connection, batches)
    closing: dict[str, ledger.Verdict] = {}
    for batch, verdict in zip(batches, verdicts, strict=True):
        closing[batch.batch_id] = verdict
        if batch.batch_id in resolving:
            ledger.close_batches(connection, closing)
            close_resolved(connection, batch)
            closing = {}
    if closing:
        ledger.close_batches(connection, closing)


def _resolving(connection: Connection, batches: Sequence[ledger.Batch]) -> set[str]:
    """Return the batches that may resolve rows, by a mark, a dismissal, or a file of the same name or content."""
    source, dataset = batches[0].source, batches[0].dataset
    names = [base_name(batch.location) for batch in batches]
    parameters = {"source": source, "dataset": dataset, "prefix": f"{source}-{dataset}-", "names": names}
    parameters |= {"batch_ids": [batch.batch_id for batch in batches], "contents": [*map(same_content, batches)]}
    resolving = set(connection.execute(text(_RESOLVING), parameters).scalars())
    often = {name for name, times in Counter(names).items() if times > 1}
    return resolving | {batch.batch_id for batch, name in zip(batches, names, strict=True) if name in often}

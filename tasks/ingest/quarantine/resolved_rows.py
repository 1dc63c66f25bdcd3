"""Resolves quarantined rows that a later batch of the same source brings without an error, or that were dismissed.

While such a batch is ingested the rows are only marked, so that a refusal changes nothing.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, select, text

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import ingest_batches
from models.primitives.arrow_sql import query
from tasks.ingest import ledger

_SAME: Final = """
    batch.batch_id = quarantine.batch_id AND batch.source = :source AND batch.dataset = :dataset
    AND quarantine.replayed_at IS NULL AND quarantine.batch_id <> :batch_id"""
_WAITING: Final = f"""
    SELECT DISTINCT encode(subject, 'hex') FROM quarantine, ingest_batches AS batch
    WHERE {_SAME} AND subject IS NOT NULL"""
_RESOLVED: Final = """
    SELECT place, list(DISTINCT subject) AS subjects FROM waiting JOIN accepted ON left(sha256(key), 32) = subject
    GROUP BY place ORDER BY place"""
_MARKED: Final = f"""
    UPDATE quarantine SET resolved_by = :batch_id FROM ingest_batches AS batch
    WHERE {_SAME} AND quarantine.batch_id <> ALL(CAST(:later AS text[])) AND encode(subject, 'hex') = ANY(:subjects)"""
# The same file, or the file of the same name that replaced it: it has as many rows, and repeats the earlier events.
_EARLIER: Final = """
    SELECT batch.batch_id FROM ingest_batches AS batch JOIN ingest_batches AS current ON current.batch_id = :batch_id
        AND current.source = batch.source AND current.dataset = batch.dataset AND current.read = batch.read
    WHERE batch.batch_id <> :batch_id AND batch.status = 'committed' AND batch.quarantined > 0
        AND batch.started_at <= current.started_at
        AND (starts_with(batch.batch_id, :same_file) OR regexp_replace(batch.location, '.*/', '') = :file_name
            AND (batch.dataset <> 'events'
                OR 2 * (current.duplicate + current.routed) >= batch.accepted + batch.routed))"""
_SAME_FILE: Final = """
    UPDATE quarantine SET resolved_by = :batch_id WHERE batch_id = ANY(:earlier) AND replayed_at IS NULL
        AND NOT EXISTS (SELECT FROM quarantine AS bad
            WHERE bad.batch_id = :batch_id AND bad.row_number = quarantine.row_number)
        AND NOT EXISTS (SELECT FROM quarantine_repeats AS bad
            WHERE bad.batch_id = :batch_id AND bad.row_number = quarantine.row_number)"""
_CLOSED: Final = """
    UPDATE quarantine SET replayed_at = now(), outcome = 'resolved'
    WHERE resolved_by = :batch_id AND replayed_at IS NULL"""
# A dismissed row that is read again under another mapping, and breaks no other rule than before.
_DISMISSED: Final = """
    UPDATE quarantine AS repeated SET replayed_at = now(), outcome = 'dismissed'
    FROM quarantine AS dismissed JOIN ingest_batches AS batch USING (batch_id)
    WHERE repeated.batch_id = :batch_id AND repeated.replayed_at IS NULL AND dismissed.outcome = 'dismissed'
        AND dismissed.batch_id <> :batch_id AND batch.source = :source AND batch.dataset = :dataset
        AND repeated.rule_ids <@ dismissed.rule_ids AND {same}"""
_SAME_ROW: Final = (
    "starts_with(dismissed.batch_id, :same_file) AND dismissed.row_number = repeated.row_number",
    "dismissed.subject = repeated.subject AND 'id_conflict' <> ALL(repeated.rule_ids)",
)
_UNMARKED: Final = "UPDATE quarantine SET resolved_by = NULL WHERE resolved_by = :batch_id AND replayed_at IS NULL"


def quarantined_subjects(connection: Connection, batch: ledger.Batch) -> pa.Array:
    """Return the subjects of the quarantined rows of a batch's source, for `mark_resolved`."""
    parameters = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
    rows = read_table(connection, text(_WAITING).bindparams(**parameters), {"subject": pa.string()})
    return rows["subject"].combine_chunks()


def mark_resolved(
    connection: Connection, batches: Sequence[ledger.Batch], keys: Sequence[pa.ChunkedArray], waiting: pa.Array
) -> None:
    """Mark the quarantined rows of the same source whose event, item or user a batch accepted (`keys`).

    The batches are in the order in which they count: only a later batch resolves a row.
    """
    places = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
    if not len(waiting) or not len(places):
        return
    accepted = pa.chunked_array([chunk for own in keys for chunk in own.chunks], pa.string())
    accepted = pa.table({"place": places, "key": accepted})
    for row in query(_RESOLVED, waiting=pa.table({"subject": waiting}), accepted=accepted).to_pylist():
        batch, later = batches[row["place"]], [other.batch_id for other in batches[row["place"] + 1 :]]
        parameters = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
        connection.execute(text(_MARKED), parameters | {"subjects": row["subjects"], "later": later})


def close_resolved(connection: Connection, batch: ledger.Batch) -> None:
    """Resolve the marked rows, and rows of the same file that this batch reads without an error.

    Rows of the batch that were dismissed before stay dismissed.
    """
    this_batch, same_file = {"batch_id": batch.batch_id}, {"same_file": same_content(batch)}
    parameters = {"source": batch.source, "dataset": batch.dataset} | this_batch | same_file
    for same in _SAME_ROW:
        connection.execute(text(_DISMISSED.format(same=same)), parameters)
    name = {"file_name": base_name(batch.location)}
    earlier = list(connection.execute(text(_EARLIER), this_batch | same_file | name).scalars())
    if earlier:
        connection.execute(text(_SAME_FILE), this_batch | {"earlier": earlier})
    connection.execute(text(_CLOSED), this_batch)


def resolve_renamed(connection: Connection, batches: Sequence[ledger.Batch]) -> None:
    """Resolve rows of files that committed batches correct when they are ingested again under such a file's name."""
    entry = ingest_batches.c
    known = select(entry.batch_id, entry.location).where(entry.batch_id.in_([batch.batch_id for batch in batches]))
    names = {row.batch_id: base_name(row.location) for row in connection.execute(known)}
    for batch in batches:
        if names[batch.batch_id] != base_name(batch.location):
            close_resolved(connection, batch)


def same_content(batch: ledger.Batch) -> str:
    """Return the prefix of all batch ids of its content; an id has the source, data set, content and mapping."""
    prefix = f"{batch.source}-{batch.dataset}-"
    return f"{prefix}{batch.batch_id.removeprefix(prefix).partition('-')[0]}-"


def base_name(location: str) -> str:
    """Return the name of a file as the SQL above computes it, unlike `file_name` for people."""
    return location.rpartition("/")[2]


def unmark_resolved(connection: Connection, batch_id: str) -> None:
    """Remove the marks of a batch that is refused or starts again."""
    connection.execute(text(_UNMARKED), {"batch_id": batch_id})

"""Lets rows leave quarantine that a later batch of the same source has brought without a fault, or that were dismissed.

While such a batch comes in its rows are only marked: if it is refused, nothing has changed.
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
# The same file, or the file of the same name that replaced it: it has as many rows, and the events of before once more.
_EARLIER: Final = """
    SELECT batch.batch_id FROM ingest_batches AS batch JOIN ingest_batches AS mine ON mine.batch_id = :batch_id
        AND mine.source = batch.source AND mine.dataset = batch.dataset AND mine.read = batch.read
    WHERE batch.batch_id <> :batch_id AND batch.status = 'committed' AND batch.quarantined > 0
        AND batch.started_at <= mine.started_at
        AND (starts_with(batch.batch_id, :same_file) OR regexp_replace(batch.location, '.*/', '') = :file_name
            AND (batch.dataset <> 'events' OR 2 * (mine.duplicate + mine.routed) >= batch.accepted + batch.routed))"""
_SAME_FILE: Final = """
    UPDATE quarantine SET resolved_by = :batch_id WHERE batch_id = ANY(:earlier) AND replayed_at IS NULL
        AND NOT EXISTS (SELECT FROM quarantine AS bad
            WHERE bad.batch_id = :batch_id AND bad.row_number = quarantine.row_number)
        AND NOT EXISTS (SELECT FROM quarantine_repeats AS bad
            WHERE bad.batch_id = :batch_id AND bad.row_number = quarantine.row_number)"""
_CLOSED: Final = """
    UPDATE quarantine SET replayed_at = now(), outcome = 'resolved'
    WHERE resolved_by = :batch_id AND replayed_at IS NULL"""
# A row that was dismissed and comes again under another mapping, with no other fault than it had.
_DISMISSED: Final = """
    UPDATE quarantine AS again SET replayed_at = now(), outcome = 'dismissed'
    FROM quarantine AS dismissed JOIN ingest_batches AS batch USING (batch_id)
    WHERE again.batch_id = :batch_id AND again.replayed_at IS NULL AND dismissed.outcome = 'dismissed'
        AND dismissed.batch_id <> :batch_id AND batch.source = :source AND batch.dataset = :dataset
        AND again.rule_ids <@ dismissed.rule_ids AND {same}"""
_SAME_ROW: Final = (
    "starts_with(dismissed.batch_id, :same_file) AND dismissed.row_number = again.row_number",
    "dismissed.subject = again.subject AND 'id_conflict' <> ALL(again.rule_ids)",
)
_KEPT: Final = "UPDATE quarantine SET resolved_by = NULL WHERE resolved_by = :batch_id AND replayed_at IS NULL"


def waiting_subjects(connection: Connection, batch: ledger.Batch) -> pa.Array:
    """Return what the waiting rows of a batch's source are about, for `mark_resolved`."""
    mine = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
    return read_table(connection, text(_WAITING).bindparams(**mine), {"subject": pa.string()})[
        "subject"
    ].combine_chunks()


def mark_resolved(
    connection: Connection, batches: Sequence[ledger.Batch], keys: Sequence[pa.ChunkedArray], waiting: pa.Array
) -> None:
    """Mark the waiting rows of the same source whose event, item or user is among the accepted `keys` of a batch.

    The batches come in the order in which they count: a row is resolved by a later one, never by an earlier one.
    """
    places = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
    if not len(waiting) or not len(places):
        return
    accepted = pa.chunked_array([chunk for own in keys for chunk in own.chunks], pa.string())
    accepted = pa.table({"place": places, "key": accepted})
    for row in query(_RESOLVED, waiting=pa.table({"subject": waiting}), accepted=accepted).to_pylist():
        batch, later = batches[row["place"]], [other.batch_id for other in batches[row["place"] + 1 :]]
        mine = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
        connection.execute(text(_MARKED), mine | {"subjects": row["subjects"], "later": later})


def close_resolved(connection: Connection, batch: ledger.Batch) -> None:
    """Let the marked rows leave, and those of the same file that this batch has read without a fault.

    Rows of the batch that were dismissed before stay dismissed.
    """
    mine, same_file = {"batch_id": batch.batch_id}, {"same_file": same_content(batch)}
    about = {"source": batch.source, "dataset": batch.dataset} | mine | same_file
    for same in _SAME_ROW:
        connection.execute(text(_DISMISSED.format(same=same)), about)
    name = {"file_name": base_name(batch.location)}
    earlier = list(connection.execute(text(_EARLIER), mine | same_file | name).scalars())
    if earlier:
        connection.execute(text(_SAME_FILE), mine | {"earlier": earlier})
    connection.execute(text(_CLOSED), mine)


def resolve_renamed(connection: Connection, batches: Sequence[ledger.Batch]) -> None:
    """Let rows leave whose file is corrected by committed batches that come again under its name, not their own."""
    entry = ingest_batches.c
    known = select(entry.batch_id, entry.location).where(entry.batch_id.in_([batch.batch_id for batch in batches]))
    names = {row.batch_id: base_name(row.location) for row in connection.execute(known)}
    for batch in batches:
        if names[batch.batch_id] != base_name(batch.location):
            close_resolved(connection, batch)


def same_content(batch: ledger.Batch) -> str:
    """Return how all batches of its content begin: one is named by source, data set, content and mapping."""
    prefix = f"{batch.source}-{batch.dataset}-"
    return f"{prefix}{batch.batch_id.removeprefix(prefix).partition('-')[0]}-"


def base_name(location: str) -> str:
    """Return the name of a file as the SQL above has it. People read `file_name`, which leaves options out."""
    return location.rpartition("/")[2]


def keep_waiting(connection: Connection, batch_id: str) -> None:
    """Let the rows wait on that a batch would have resolved that is refused or begins again."""
    connection.execute(text(_KEPT), {"batch_id": batch_id})

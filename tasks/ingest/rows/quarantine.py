"""Stores rows that break a rule, each content once, and events that a batch repeats.

A row that is in quarantine already is a duplicate.

A later batch of the same source that brings a row without an error resolves it. While that batch is ingested the rows
are only marked, so that a refusal changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, delete, select, text, tuple_, update

from infra.database.bulk_copy import copy_table, read_table
from infra.database.schema.ledger_schema import ingest_repeats, quarantine_repeats
from infra.database.schema.schema import ingest_batches, quarantine
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest.check.advice import LINE_UNREADABLE
from models.ingest.tabular.unreadable_cells import CELLS, shape
from models.primitives.arrow_sql import query
from tasks.ingest import ledger
from tasks.ingest.validation import row_triage
from tasks.sources.csv_reader import MisfitLine
from tasks.sources.table_files import RowNumbering

REPEATED_COLUMNS: Final = (columns.EVENT_ID, columns.RECEIVED_AT, columns.CONSENT, "late")
"""The event id, and the columns that may differ between two rows of the same event."""
_CONTENT: Final = f"""substring(sha256(convert_to(concat_ws(chr(31), {{source}}, array_to_string(rule_ids, ','),
    coalesce(payload ->> '{columns.PAYLOAD_HASH}',
        (payload - ARRAY['file', 'line', 'row', 'offset', '{row_triage.SUGGESTIONS}'])::text),
    CASE WHEN payload ? '{columns.PAYLOAD_HASH}' THEN payload ->> '{CELLS}' END), 'UTF8'))
    FROM 1 FOR 16)"""
"""SQL: 128 bits of a row's values and the rules that it breaks, wherever it is in a file. Users are represented by
their pseudonyms, and unreadable lines by their hash."""
_SUBJECT: Final = f"""substring(sha256(convert_to(coalesce(payload ->> '{columns.EVENT_ID}',
    payload ->> '{columns.ITEM_ID}', payload ->> '{columns.USER_KEY}'), 'UTF8')) FROM 1 FOR 16)"""
"""SQL: 128 bits of the event, item or user of a row."""
_STAGED: Final = """
    CREATE TEMP TABLE incoming_rows (place integer, batch_id text, row_number bigint, chunk integer, rule_ids text[],
        payload jsonb) ON COMMIT DROP"""
_STORED: Final = f"""
    WITH incoming AS MATERIALIZED (
        SELECT *, {_CONTENT.format(source=":source")} AS content, {_SUBJECT} AS subject FROM incoming_rows
    ), fresh AS (
        INSERT INTO quarantine (batch_id, row_number, chunk, rule_ids, payload, content, subject)
        SELECT batch_id, row_number, chunk, rule_ids, payload, content, subject FROM (
            SELECT DISTINCT ON (content) * FROM incoming
            WHERE NOT EXISTS (SELECT FROM quarantine WHERE quarantine.content = incoming.content)
            ORDER BY content, place, row_number
        ) AS new ORDER BY place, row_number RETURNING batch_id, row_number
    ), repeated AS (
        INSERT INTO quarantine_repeats (batch_id, row_number, chunk, content)
        SELECT batch_id, row_number, chunk, content FROM incoming
        WHERE (batch_id, row_number) NOT IN (SELECT batch_id, row_number FROM fresh)
    )
    SELECT batch_id, count(*) FROM fresh GROUP BY batch_id"""
_REMADE: Final = f"""
    UPDATE quarantine SET content = {_CONTENT.format(source="ingest_batches.source")}, subject = {_SUBJECT}
    FROM ingest_batches WHERE ingest_batches.batch_id = quarantine.batch_id"""
_SAME: Final = """
    batch.batch_id = quarantine.batch_id AND batch.source = :source AND batch.dataset = :dataset
    AND quarantine.replayed_at IS NULL AND quarantine.batch_id <> :batch_id"""
_WAITING: Final = f"""
    SELECT DISTINCT encode(subject, 'hex') FROM quarantine, ingest_batches AS batch
    WHERE {_SAME} AND subject IS NOT NULL"""
_OWN: Final = f"""
    SELECT DISTINCT left(sha256(coalesce({columns.EVENT_ID}, {columns.ITEM_ID}, {columns.USER_KEY})), 32) AS subject
    FROM events WHERE subject IS NOT NULL"""
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


def store_quarantined(
    connection: Connection, source: str, chunks: Mapping[tuple[str, int], Sequence[pa.Table]]
) -> dict[str, int]:
    """Store or replace rows of chunks with the rules that they break; returns the number of new rows by batch.

    The other rows equal a row of the same source that is in quarantine, or an earlier one of these. Each batch has one
    chunk, by its number, and the first batch is the earliest.
    """
    for table in (quarantine, quarantine_repeats):
        connection.execute(delete(table).where(tuple_(table.c.batch_id, table.c.chunk).in_(list(chunks))))
    incoming = _incoming(chunks)
    if not incoming:
        return {}
    connection.execute(text("DROP TABLE IF EXISTS incoming_rows"))
    connection.execute(text(_STAGED))
    copy_table(connection, "incoming_rows", pa.concat_tables(incoming))
    return {row["batch_id"]: row["count"] for row in connection.execute(text(_STORED), {"source": source}).mappings()}


def _incoming(chunks: Mapping[tuple[str, int], Sequence[pa.Table]]) -> list[pa.Table]:
    """Return the rows of all chunks for staging; rows with the same columns are converted to JSON together."""
    alike: dict[tuple[tuple[str, pa.DataType], ...], list[tuple[int, str, int, pa.Table]]] = {}
    for place, (chunk, tables) in enumerate(chunks.items()):
        for rows in filter(len, tables):
            alike.setdefault(tuple((one.name, one.type) for one in rows.schema), []).append((place, *chunk, rows))
    staged = []
    for group in alike.values():
        *owners, tables = zip(*group, strict=True)
        payloads = row_triage.payloads(pa.concat_tables(tables))
        sizes = [len(rows) for rows in tables]
        ids = dict(zip(("place", columns.BATCH_ID, "chunk"), (np.repeat(one, sizes) for one in owners), strict=True))
        staged.append(pa.table(ids | dict(zip(payloads.column_names, payloads.columns, strict=True))))
    return staged


def remake_content(connection: Connection) -> None:
    """Compute the identifying hashes of every row again, after a change of payloads."""
    connection.execute(text(_REMADE))


def quarantined_lines(lines: Sequence[MisfitLine], numbering: RowNumbering, key: bytes) -> pa.Table | None:
    """Return misfit lines as rows for quarantine, or None if there are none.

    The user id is somewhere in such a line, so `line_hash` is keyed, as pseudonyms are.
    """
    if not lines:
        return None
    positions = np.array([line.number for line in lines])
    return pa.table(
        {
            numbering.unit: pa.array(numbering.numbers(positions), pa.int64()),
            "values": [line.values for line in lines],
            "columns": [line.columns for line in lines],
            "text": [shape(line.text) for line in lines],
            "line_hash": pseudonyms(pa.array([line.text for line in lines], pa.string()), key),
            columns.ROW: pa.array(positions, pa.int64()),
            row_triage.RULES: pa.array([[LINE_UNREADABLE]] * len(lines), pa.list_(pa.string())),
        }
    )


def quarantined_subjects(connection: Connection, batch: ledger.Batch) -> pa.Array:
    """Return the subjects of the quarantined rows of a batch's source, for `mark_resolved`."""
    parameters = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
    rows = read_table(connection, text(_WAITING).bindparams(**parameters), {"subject": pa.string()})
    return rows["subject"].combine_chunks()


def subjects_of(events: pa.Table) -> pa.Array:
    """Return the subjects that quarantined events have once they are stored."""
    return query(_OWN, events=events.select([columns.EVENT_ID, columns.ITEM_ID, columns.USER_KEY]))[0].combine_chunks()


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


def _close_resolved(connection: Connection, batch: ledger.Batch) -> None:
    """Resolve the marked rows, and rows of the same file that this batch reads without an error.

    Rows of the batch that were dismissed before stay dismissed.
    """
    this_batch = {"batch_id": batch.batch_id, "source": batch.source, "dataset": batch.dataset}
    this_batch |= {"same_file": _same_content(batch), "file_name": _base_name(batch.location)}
    for same in _SAME_ROW:
        connection.execute(text(_DISMISSED.format(same=same)), this_batch)
    earlier = list(connection.execute(text(_EARLIER), this_batch).scalars())
    if earlier:
        connection.execute(text(_SAME_FILE), this_batch | {"earlier": earlier})
    connection.execute(text(_CLOSED), this_batch)


def resolve_renamed(connection: Connection, batches: Sequence[ledger.Batch]) -> None:
    """Resolve rows of files that committed batches correct when they are ingested again under such a file's name."""
    entry = ingest_batches.c
    known = select(entry.batch_id, entry.location).where(entry.batch_id.in_([batch.batch_id for batch in batches]))
    names = {row.batch_id: _base_name(row.location) for row in connection.execute(known)}
    for batch in batches:
        if names[batch.batch_id] != _base_name(batch.location):
            _close_resolved(connection, batch)


def _same_content(batch: ledger.Batch) -> str:
    """Return the prefix of all batch ids of its content; an id has the source, data set, content and mapping."""
    prefix = f"{batch.source}-{batch.dataset}-"
    return f"{prefix}{batch.batch_id.removeprefix(prefix).partition('-')[0]}-"


def _base_name(location: str) -> str:
    """Return the name of a file as the SQL above computes it, unlike `file_name` for people."""
    return location.rpartition("/")[2]


def unmark_resolved(connection: Connection, *batch_ids: str) -> None:
    """Remove the marks of batches that are refused or start again."""
    marked = (quarantine.c.resolved_by.in_(batch_ids), quarantine.c.replayed_at.is_(None))
    connection.execute(update(quarantine).where(*marked).values(resolved_by=None))


def close_batches(connection: Connection, batches: Sequence[ledger.Batch], verdicts: Sequence[ledger.Verdict]) -> None:
    """Commit batches of one source in their order, and close the quarantined rows that they resolve.

    The result is the same as of one commit after the other. A batch resolves rows of earlier batches only, so the later
    ones are committed after that.
    """
    resolving = _resolving(connection, batches)
    closing: dict[str, ledger.Verdict] = {}
    for batch, verdict in zip(batches, verdicts, strict=True):
        closing[batch.batch_id] = verdict
        if batch.batch_id in resolving:
            ledger.close_batches(connection, closing)
            _close_resolved(connection, batch)
            closing = {}
    if closing:
        ledger.close_batches(connection, closing)


def _resolving(connection: Connection, batches: Sequence[ledger.Batch]) -> set[str]:
    """Return the batches that may resolve rows, by a mark, a dismissal, or a file of the same name or content."""
    source, dataset = batches[0].source, batches[0].dataset
    names = [_base_name(batch.location) for batch in batches]
    parameters = {
        "source": source,
        "dataset": dataset,
        "prefix": f"{source}-{dataset}-",
        "names": names,
        "batch_ids": [batch.batch_id for batch in batches],
        "contents": [*map(_same_content, batches)],
    }
    resolving = set(connection.execute(text(_RESOLVING), parameters).scalars())
    often = {name for name, times in Counter(names).items() if times > 1}
    return resolving | {batch.batch_id for batch, name in zip(batches, names, strict=True) if name in often}


def store_repeats(connection: Connection, chunks: Mapping[tuple[str, int], pa.Table]) -> None:
    """Store or replace the repeated events of chunks, by batch and number."""
    stored = tuple_(ingest_repeats.c.batch_id, ingest_repeats.c.chunk).in_(list(chunks))
    connection.execute(delete(ingest_repeats).where(stored))
    rows = [
        {"batch_id": batch_id, "chunk": chunk, "events": _compressed(repeated)}
        for (batch_id, chunk), repeated in chunks.items()
        if len(repeated)
    ]
    if rows:
        connection.execute(ingest_repeats.insert().values(rows))


def _compressed(repeated: pa.Table) -> bytes:
    stream_bytes = pa.BufferOutputStream()
    rows = repeated.select(REPEATED_COLUMNS).combine_chunks()
    with pa.ipc.new_stream(stream_bytes, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(rows)
    content: bytes = stream_bytes.getvalue().to_pybytes()
    return content


def read_repeats(connection: Connection, batch_id: str) -> Iterator[tuple[int, pa.Table]]:
    """Yield the events that a batch repeats, chunk by chunk, without reading all of them together."""
    entry = ingest_repeats.c
    chunks = select(entry.chunk).where(entry.batch_id == batch_id).order_by(entry.chunk)
    for chunk in connection.execute(chunks).scalars().all():
        events = select(entry.events).where(entry.batch_id == batch_id, entry.chunk == chunk)
        content = connection.execute(events).scalar_one()
        yield chunk, pa.ipc.open_stream(bytes(content)).read_all()

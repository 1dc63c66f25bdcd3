"""Stores rows that break a rule, each content once: a row that is in quarantine already is a duplicate."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, delete, text, tuple_

from infra.database.bulk_copy import copy_table
from infra.database.schema.ledger_schema import quarantine_repeats
from infra.database.schema.schema import quarantine
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest.check.rule_advice import LINE_UNREADABLE
from models.ingest.tabular.unreadable_cells import CELLS, shape
from tasks.ingest.validation import row_triage
from tasks.sources.misfit_lines import MisfitLine
from tasks.sources.table_files import RowNumbering

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

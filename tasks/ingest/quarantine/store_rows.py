"""Keeps the rows that broke a rule, each content once: a row that waits already is a duplicate, as for good rows."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, delete, text, tuple_

from infra.database.bulk_copy import copy_table
from infra.database.schema.ledger_schema import quarantine_repeats
from infra.database.schema.schema import quarantine
from models import columns
from models.ingest.tabular.unreadable_cells import CELLS
from tasks.ingest.validation import row_triage

_CONTENT: Final = f"""substring(sha256(convert_to(concat_ws(chr(31), {{source}}, array_to_string(rule_ids, ','),
    coalesce(payload ->> '{columns.PAYLOAD_HASH}',
        (payload - ARRAY['file', 'line', 'row', 'offset', '{row_triage.SUGGESTIONS}'])::text),
    CASE WHEN payload ? '{columns.PAYLOAD_HASH}' THEN payload ->> '{CELLS}' END), 'UTF8'))
    FROM 1 FOR 16)"""
"""SQL: 128 bits of what a row of a source states and which rules it broke, wherever it stands. Users are in it by their
pseudonyms, lines that cannot be parsed by their own hash."""
_SUBJECT: Final = f"""substring(sha256(convert_to(coalesce(payload ->> '{columns.EVENT_ID}',
    payload ->> '{columns.ITEM_ID}', payload ->> '{columns.USER_KEY}'), 'UTF8')) FROM 1 FOR 16)"""
"""SQL: 128 bits of the event, item or user that a row is about."""
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


def store_waiting(
    connection: Connection, source: str, chunks: Mapping[tuple[str, int], Sequence[pa.Table]]
) -> dict[str, int]:
    """Store rows of chunks with the rules they broke; a repeat of a chunk replaces them. Returns new ones by batch.

    The others are equal to a row of the same source that waits or was replayed, or to an earlier one of these. Of each
    batch there is one chunk, by its number, and the first batch is the earliest.
    """
    for table in (quarantine, quarantine_repeats):
        connection.execute(delete(table).where(tuple_(table.c.batch_id, table.c.chunk).in_(list(chunks))))
    coming = _incoming(chunks)
    if not coming:
        return {}
    connection.execute(text("DROP TABLE IF EXISTS incoming_rows"))
    connection.execute(text(_STAGED))
    copy_table(connection, "incoming_rows", pa.concat_tables(coming))
    return {row["batch_id"]: row["count"] for row in connection.execute(text(_STORED), {"source": source}).mappings()}


def _incoming(chunks: Mapping[tuple[str, int], Sequence[pa.Table]]) -> list[pa.Table]:
    """Return the rows of all chunks as they are staged; those of the same columns are written as JSON at once."""
    alike: dict[tuple[tuple[str, pa.DataType], ...], list[tuple[int, str, int, pa.Table]]] = {}
    for place, (chunk, tables) in enumerate(chunks.items()):
        for rows in filter(len, tables):
            alike.setdefault(tuple((one.name, one.type) for one in rows.schema), []).append((place, *chunk, rows))
    staged = []
    for found in alike.values():
        *owners, tables = zip(*found, strict=True)
        kept = row_triage.payloads(pa.concat_tables(tables))
        sizes = [len(rows) for rows in tables]
        named = dict(zip(("place", columns.BATCH_ID, "chunk"), (np.repeat(one, sizes) for one in owners), strict=True))
        staged.append(pa.table(named | dict(zip(kept.column_names, kept.columns, strict=True))))
    return staged


def remake_content(connection: Connection) -> None:
    """Work out again what identifies every row: call it after payloads were changed."""
    connection.execute(text(_REMADE))

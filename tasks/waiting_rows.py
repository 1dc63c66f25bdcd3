"""Keeps the rows that broke a rule, each content once: a row that waits already is a duplicate, as for good rows."""

from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, delete, text

from infra.bulk import copy_table
from infra.ledger_schema import quarantine_repeats
from infra.schema import quarantine
from models import columns
from models.shapes.unreadable import CELLS
from tasks import sift

_CONTENT: Final = f"""substring(sha256(convert_to(concat_ws(chr(31), {{source}}, array_to_string(rule_ids, ','),
    coalesce(payload ->> '{columns.PAYLOAD_HASH}',
        (payload - ARRAY['file', 'line', 'row', 'offset', '{sift.SUGGESTIONS}'])::text),
    CASE WHEN payload ? '{columns.PAYLOAD_HASH}' THEN payload ->> '{CELLS}' END), 'UTF8'))
    FROM 1 FOR 16)"""
"""SQL: 128 bits of what a row of a source states and which rules it broke, wherever it stands. Users are in it by their
pseudonyms, lines that cannot be parsed by their own hash."""
_SUBJECT: Final = f"""substring(sha256(convert_to(coalesce(payload ->> '{columns.EVENT_ID}',
    payload ->> '{columns.ITEM_ID}', payload ->> '{columns.USER_KEY}'), 'UTF8')) FROM 1 FOR 16)"""
"""SQL: 128 bits of the event, item or user that a row is about."""
_STAGED: Final = """
    CREATE TEMP TABLE incoming_rows (batch_id text, row_number bigint, chunk integer, rule_ids text[], payload jsonb)
    ON COMMIT DROP"""
_STORED: Final = f"""
    WITH incoming AS MATERIALIZED (
        SELECT *, {_CONTENT.format(source=":source")} AS content, {_SUBJECT} AS subject FROM incoming_rows
    ), fresh AS (
        INSERT INTO quarantine (batch_id, row_number, chunk, rule_ids, payload, content, subject)
        SELECT batch_id, row_number, chunk, rule_ids, payload, content, subject FROM (
            SELECT DISTINCT ON (content) * FROM incoming
            WHERE NOT EXISTS (SELECT FROM quarantine WHERE quarantine.content = incoming.content)
            ORDER BY content, row_number
        ) AS new ORDER BY row_number RETURNING row_number
    )
    INSERT INTO quarantine_repeats (batch_id, row_number, chunk, content)
    SELECT batch_id, row_number, chunk, content FROM incoming
    WHERE row_number NOT IN (SELECT row_number FROM fresh)"""
_REMADE: Final = f"""
    UPDATE quarantine SET content = {_CONTENT.format(source="ingest_batches.source")}, subject = {_SUBJECT}
    FROM ingest_batches WHERE ingest_batches.batch_id = quarantine.batch_id"""


def store_waiting(connection: Connection, source: str, batch_id: str, chunk: int, *tables: pa.Table) -> int:
    """Store rows with the rules they broke; a repeat of the chunk replaces them. Returns how many are new.

    The others are equal to a row of the same source that waits or was replayed, or to an earlier one of these.
    """
    for table in (quarantine, quarantine_repeats):
        connection.execute(delete(table).where(table.c.batch_id == batch_id, table.c.chunk == chunk))
    filled = [rows for rows in tables if len(rows)]
    if not filled:
        return 0
    connection.execute(text("DROP TABLE IF EXISTS incoming_rows"))
    connection.execute(text(_STAGED))
    for rows in filled:
        place = {columns.BATCH_ID: pa.repeat(batch_id, len(rows)), "chunk": pa.repeat(chunk, len(rows))}
        kept = sift.payloads(rows)
        copy_table(
            connection, "incoming_rows", pa.table(place | dict(zip(kept.column_names, kept.columns, strict=True)))
        )
    repeated = connection.execute(text(_STORED), {"source": source}).rowcount
    return sum(map(len, filled)) - repeated


def remake_content(connection: Connection) -> None:
    """Work out again what identifies every row: call it after payloads were changed."""
    connection.execute(text(_REMADE))

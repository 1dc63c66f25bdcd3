"""Stores the events that a batch repeats: after an undo of the first batch they belong to this one."""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, delete, select, tuple_

from infra.database.schema.ledger_schema import ingest_repeats
from models import columns

REPEATED_COLUMNS: Final = (columns.EVENT_ID, columns.RECEIVED_AT, columns.CONSENT, "late")
"""The event id, and the columns that may differ between two rows of the same event."""


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

"""Keeps which events a batch repeated: once the batch that brought them first is undone, they are this batch's own."""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, delete, select, tuple_

from infra.database.schema.ledger_schema import ingest_repeats
from models import columns

REPEATED_COLUMNS: Final = (columns.EVENT_ID, columns.RECEIVED_AT, columns.CONSENT, "late")
"""What may differ between two statements of the same event, beside its id."""


def store_repeats(connection: Connection, chunks: Mapping[tuple[str, int], pa.Table]) -> None:
    """Keep the repeated events of chunks, by batch and number; a repeat of a chunk replaces them."""
    mine = tuple_(ingest_repeats.c.batch_id, ingest_repeats.c.chunk).in_(list(chunks))
    connection.execute(delete(ingest_repeats).where(mine))
    rows = [
        {"batch_id": batch_id, "chunk": chunk, "events": _written(repeated)}
        for (batch_id, chunk), repeated in chunks.items()
        if len(repeated)
    ]
    if rows:
        connection.execute(ingest_repeats.insert().values(rows))


def _written(repeated: pa.Table) -> bytes:
    written = pa.BufferOutputStream()
    rows = repeated.select(REPEATED_COLUMNS).combine_chunks()
    with pa.ipc.new_stream(written, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(rows)
    content: bytes = written.getvalue().to_pybytes()
    return content


def read_repeats(connection: Connection, batch_id: str) -> Iterator[tuple[int, pa.Table]]:
    """Yield the events that a batch repeated, chunk by chunk, without reading them all at once."""
    mine = select(ingest_repeats.c.chunk).where(ingest_repeats.c.batch_id == batch_id).order_by(ingest_repeats.c.chunk)
    for chunk in connection.execute(mine).scalars().all():
        entry = (ingest_repeats.c.batch_id == batch_id, ingest_repeats.c.chunk == chunk)
        held = connection.execute(select(ingest_repeats.c.events).where(*entry)).scalar_one()
        yield chunk, pa.ipc.open_stream(bytes(held)).read_all()

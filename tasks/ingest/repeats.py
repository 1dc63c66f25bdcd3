"""Keeps which events a batch repeated: once the batch that brought them first is undone, they are this batch's own."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, delete, select

from infra.ledger_schema import ingest_repeats
from models import columns

KEPT: Final = (columns.EVENT_ID, columns.RECEIVED_AT, columns.CONSENT, "late")
"""What may differ between two statements of the same event, beside its id."""


def keep_repeats(connection: Connection, batch_id: str, chunk: int, repeated: pa.Table) -> None:
    """Keep the repeated events of a chunk; a repeat of the chunk replaces them."""
    mine = (ingest_repeats.c.batch_id == batch_id, ingest_repeats.c.chunk == chunk)
    connection.execute(delete(ingest_repeats).where(*mine))
    if not len(repeated):
        return
    written = pa.BufferOutputStream()
    rows = repeated.select(KEPT).combine_chunks()
    with pa.ipc.new_stream(written, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(rows)
    row = {"batch_id": batch_id, "chunk": chunk, "events": written.getvalue().to_pybytes()}
    connection.execute(ingest_repeats.insert().values(row))


def repeats(connection: Connection, batch_id: str) -> Iterator[pa.Table]:
    """Return the events that a batch repeated, chunk by chunk, without reading them all at once."""
    mine = select(ingest_repeats.c.chunk).where(ingest_repeats.c.batch_id == batch_id).order_by(ingest_repeats.c.chunk)
    for chunk in connection.execute(mine).scalars().all():
        entry = (ingest_repeats.c.batch_id == batch_id, ingest_repeats.c.chunk == chunk)
        held = connection.execute(select(ingest_repeats.c.events).where(*entry)).scalar_one()
        yield pa.ipc.open_stream(bytes(held)).read_all()

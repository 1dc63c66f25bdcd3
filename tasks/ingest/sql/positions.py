"""Reads the position of a stream from the ledger, where it counts together with the batch that reached it."""

from typing import Final, cast

from sqlalchemy import Connection, text

from infra.installation import Installation
from infra.locks import advisory_locks
from models.ingest.tabular.sql_cursor import CursorKind, CursorPosition
from tasks.ingest import ledger
from tasks.ingest.ledger_records import Batch, SqlRequest
from tasks.ingest.undo.settle import settle

_LATEST: Final = text(f"""
    SELECT batch_id, request -> 'sql' AS request FROM ingest_batches
    WHERE source = :source AND dataset = :dataset AND status = '{ledger.COMMITTED}'
        AND request -> 'sql' ->> 'stream' = :stream
    ORDER BY started_at DESC, batch_id DESC LIMIT 1""")
_OUTDATED: Final = text(f"""
    SELECT batch_id FROM ingest_batches
    WHERE source = :source AND dataset = :dataset AND status = '{ledger.PENDING}' AND batch_id <> :kept
        AND request -> 'sql' ->> 'stream' = :stream""")
_READ_AGAIN: Final = "It was cut short. Its rows were read again, as another batch."


def latest(connection: Connection, source: str, dataset: str, stream: str) -> tuple[str, SqlRequest] | None:
    """Return the latest committed batch of a stream with its request."""
    found = connection.execute(_LATEST, {"source": source, "dataset": dataset, "stream": stream}).first()
    return None if found is None else (found.batch_id, cast("SqlRequest", found.request))


def position(request: SqlRequest | None) -> CursorPosition | None:
    """Return the position that a batch reached."""
    if request is None or request["kind"] is None or request["position"] is None:
        return None
    return CursorPosition.parse(cast("CursorKind", request["kind"]), request["position"])


def close_outdated(installation: Installation, batch: Batch, stream: str) -> None:
    """Close interrupted batches of a stream whose rows are read again as `batch`. Call it under the stream's lock."""
    where = {"source": batch.source, "dataset": batch.dataset, "stream": stream, "kept": batch.batch_id}
    with installation.engine.connect() as connection:
        outdated = list(connection.execute(_OUTDATED, where).scalars())
    if not outdated:
        return
    with advisory_locks.locked(installation.engine, "the lake's events", wait=True):
        settle(installation, batch.batch_id)
    with installation.engine.begin() as connection:
        for name in outdated:
            ledger.set_status(connection, name, ledger.UNDONE, _READ_AGAIN)

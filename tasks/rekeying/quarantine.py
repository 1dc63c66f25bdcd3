"""Re-keys the events in quarantine: ids and hashes derived from user keys are computed again."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Row, text

from infra.database.bulk_copy import copy_table
from models import columns
from models.columns import ROW
from tasks.ingest.quarantine.replay_rows import QuarantinedRow, quarantined_events
from tasks.rekeying.events import rekeyed_columns

_BATCH_ROWS: Final = 20_000
_SELECT_BATCH: Final = text(
    "SELECT batch_id, row_number, payload FROM quarantine "
    f"WHERE payload ? '{columns.PAYLOAD_HASH}' AND (batch_id, row_number) > (:batch, :row) "
    "ORDER BY batch_id, row_number LIMIT :most"
)
_UPDATE_PAYLOADS: Final = text(
    "UPDATE quarantine SET payload = payload || jsonb_build_object('event_id', rekeyed_events.event_id, "
    "'payload_hash', rekeyed_events.payload_hash) FROM rekeyed_events "
    "WHERE quarantine.batch_id = rekeyed_events.batch_id AND quarantine.row_number = rekeyed_events.row_number"
)


def rekey_quarantine(connection: Connection, added: list[str]) -> None:
    """Compute event ids and hashes from the new user keys; call it before `rekey_tables`, which stores the keys.

    Until a replay, they would otherwise depend on the old keys.
    """
    connection.execute(
        text(
            "CREATE TEMP TABLE rekeyed_events (batch_id text, row_number bigint, event_id text, payload_hash text) "
            "ON COMMIT DROP"
        )
    )
    last: tuple[str, int] = ("", -1)
    while rows := connection.execute(_SELECT_BATCH, {"batch": last[0], "row": last[1], "most": _BATCH_ROWS}).all():
        last = (rows[-1].batch_id, rows[-1].row_number)
        copy_table(connection, "rekeyed_events", _rekeyed(rows, added))
    connection.execute(_UPDATE_PAYLOADS)


def _rekeyed(rows: Sequence[Row[Any]], added: list[str]) -> pa.Table:
    batches = pa.array([row.batch_id for row in rows], pa.string())
    numbers = pa.array([row.row_number for row in rows], pa.int64())
    # Numbered by position, because row numbers repeat from batch to batch.
    waiting = (QuarantinedRow(position, row.payload) for position, row in enumerate(rows))
    events = rekeyed_columns(quarantined_events(waiting), added)
    position = {columns.BATCH_ID: batches, ROW: numbers}
    return pa.table(position | {name: events[name] for name in (columns.EVENT_ID, columns.PAYLOAD_HASH)})

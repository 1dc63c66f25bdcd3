"""Events in quarantine under new user keys: what was made of the old ones is made again."""

from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.database.bulk_copy import copy_table
from models import columns
from models.columns import ROW
from tasks.ingest.quarantine.replay_rows import quarantined_events
from tasks.rekeying.events import remade

_AT_ONCE: Final = 20_000
_WAITING: Final = text(
    "SELECT batch_id, row_number, payload FROM quarantine "
    f"WHERE payload ? '{columns.PAYLOAD_HASH}' AND (batch_id, row_number) > (:batch, :row) "
    "ORDER BY batch_id, row_number LIMIT :most"
)
_STORED: Final = text(
    "UPDATE quarantine SET payload = payload || jsonb_build_object('event_id', remade.event_id, "
    "'payload_hash', remade.payload_hash) FROM remade "
    "WHERE quarantine.batch_id = remade.batch_id AND quarantine.row_number = remade.row_number"
)


def rekey_quarantine(connection: Connection, added: list[str]) -> None:
    """Make event ids and hashes again of the user keys to come; call it before `rekey_tables`, which stores the keys.

    A replay would do the same; until then they would still be made of the old keys.
    """
    connection.execute(
        text(
            "CREATE TEMP TABLE remade (batch_id text, row_number bigint, event_id text, payload_hash text) "
            "ON COMMIT DROP"
        )
    )
    last: tuple[str, int] = ("", -1)
    while rows := connection.execute(_WAITING, {"batch": last[0], "row": last[1], "most": _AT_ONCE}).all():
        last = (rows[-1].batch_id, rows[-1].row_number)
        copy_table(connection, "remade", _remade(rows, added))
    connection.execute(_STORED)


def _remade(rows: Any, added: list[str]) -> pa.Table:
    batches = pa.array([row.batch_id for row in rows], pa.string())
    numbers = pa.array([row.row_number for row in rows], pa.int64())
    # Numbered by place: numbers of rows repeat from batch to batch.
    events = remade(quarantined_events(enumerate(row.payload for row in rows)), added)
    place = {columns.BATCH_ID: batches, ROW: numbers}
    return pa.table(place | {name: events[name] for name in (columns.EVENT_ID, columns.PAYLOAD_HASH)})

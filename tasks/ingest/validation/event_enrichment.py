"""Prepares a chunk of events for validation: traffic marks, pseudonyms, event ids, hashes and row numbers."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.keys.identity import pseudonyms
from models import columns
from models.columns import ROW
from models.ingest.mixpanel.sql_values import MIXPANEL_EVENT
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import transform
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS, protected
from models.ingest.traffic.traffic_filter import marked
from models.primitives.arrow_sql import query
from tasks.ingest.validation.deduplication import ID_HASH, ID_HASHED, hashes
from tasks.ingest.validation.row_triage import USER_CODE

KEY_HASH: Final = "key_hash"
PAYLOAD_COLUMNS: Final = (
    *(columns.EVENT_ID, columns.USER_KEY, columns.SESSION_ID, columns.ITEM_ID, columns.EVENT_TYPE),
    *(columns.OCCURRED_AT, columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
    *(columns.PLACEMENT, columns.POSITION, columns.RECOMMENDATION_ID),
)
"""The columns that make two events the same; consent and the time of receipt may differ."""
_OPTIONAL: Final = {
    columns.CONSENT: pa.bool_(),
    columns.RECEIVED_AT: pa.timestamp("us", tz="UTC"),
    KEYS: pa.string(),
    CELLS: pa.list_(CELL),
}


def pseudonymise(rows: pa.Table, key: bytes) -> tuple[pa.Table, pa.Table]:
    """Return the rows with `user_key` instead of `user_id`, and their users: `user_id`, `user_key` and its hash.

    `user_code` is the position of a row's user in that table, -1 if there is none: numbers compare faster than keys.
    """
    ids = rows[columns.USER_ID].combine_chunks().dictionary_encode()
    keys = pseudonyms(ids.dictionary, key)
    names = pa.table({columns.USER_ID: ids.dictionary.cast(pa.string()), columns.USER_KEY: keys})
    names = names.append_column(KEY_HASH, pa.array(hashes("names", columns.USER_KEY, names=names), pa.uint64()))
    keyed = rows.drop_columns([columns.USER_ID]).add_column(0, columns.USER_KEY, keys.take(ids.indices))
    if CELLS in keyed.column_names:
        cells = protected(keyed[CELLS].combine_chunks(), ids.dictionary)
        keyed = keyed.set_column(keyed.column_names.index(CELLS), CELLS, cells)
    return keyed.append_column(USER_CODE, pc.fill_null(ids.indices, -1)), names


def add_fingerprints(events: pa.Table) -> pa.Table:
    """Add `payload_hash` (128 bits of SHA-256 over the payload columns), the hash of the id, and the month.

    The payload of Mixpanel's events is their id, so that no two with the same id differ.
    """
    payload = events.select(PAYLOAD_COLUMNS)
    texts = ", ".join(f"coalesce({_text(name)}, '')" for name in PAYLOAD_COLUMNS)
    payload_text = f"""CASE WHEN starts_with({columns.EVENT_ID}, '{MIXPANEL_EVENT}') THEN {columns.EVENT_ID}
        ELSE concat_ws(chr(31), {texts}) END"""
    hashed = query(
        f"""
        SELECT left(sha256({payload_text}), 32) AS {columns.PAYLOAD_HASH},
            {ID_HASHED} AS {ID_HASH}, strftime({columns.OCCURRED_AT}, '%Y-%m') AS {columns.MONTH}
        FROM payload
        """,
        payload=payload,
    )
    for name in hashed.column_names:
        events = events.append_column(name, hashed[name])
    return events


def _text(name: str) -> str:
    return f"{f'epoch_us({name})' if name == columns.OCCURRED_AT else name}::varchar"


def prepare_events(
    rows: pa.Table, mapping: SourceMapping, key: bytes, numbers: NDArray[np.int64], *, identified: bool = True
) -> tuple[pa.Table, pa.Table]:
    """Return events ready for `triage_events`, with their `numbers` in the file, and the table of their users.

    Unless they are `identified`, each gets an id made of its values.
    """
    events, names = pseudonymise(marked(rows, mapping.traffic), key)
    if not identified:
        events = transform.identified(events)
    for name, kind in _OPTIONAL.items():
        if name not in events.column_names:
            events = events.append_column(name, pa.nulls(len(events), kind))
    return add_fingerprints(events).append_column(ROW, pa.array(numbers)), names

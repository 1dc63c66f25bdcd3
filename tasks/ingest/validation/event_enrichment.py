"""Prepares a chunk of events for validation: traffic marks, pseudonyms, event ids, hashes and row numbers."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.keys.identity import pseudonyms, pseudonyms_of
from models import columns
from models.columns import ROW
from models.ingest.canonical_schema import IS_DEVICE
from models.ingest.mixpanel import MIXPANEL_EVENT
from models.ingest.source_config import SourceMapping, marked
from models.ingest.tabular import transform
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS, protected
from models.primitives.arrow_sql import query
from tasks.ingest.validation.deduplication import ID_HASH, ID_HASHED, hashes
from tasks.ingest.validation.row_triage import EARLIER_HASH, USER_CODE

KEY_HASH: Final = "key_hash"
EARLIER_USER, EARLIER_SESSION = f"earlier_{columns.USER_KEY}", f"earlier_{columns.SESSION_ID}"
"""The keys that devices and their sessions had before they differed from those of users with the same id."""
PAYLOAD_COLUMNS: Final = (
    *(columns.EVENT_ID, columns.USER_KEY, columns.SESSION_ID, columns.ITEM_ID, columns.EVENT_TYPE),
    *(columns.OCCURRED_AT, columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
    *(columns.PLACEMENT, columns.POSITION, columns.RECOMMENDATION_ID),
)
"""The columns that make two events the same; consent and the time of receipt may differ."""
_OPTIONAL: Final = {
    columns.CONSENT: pa.bool_(),
    columns.AUTHORITY: pa.string(),
    columns.RECEIVED_AT: pa.timestamp("us", tz="UTC"),
    KEYS: pa.string(),
    CELLS: pa.list_(CELL),
}


def pseudonymise(rows: pa.Table, key: bytes) -> tuple[pa.Table, pa.Table]:
    """Return the rows with `user_key` instead of `user_id`, and their users: `user_id`, `user_key` and its hash.

    `user_code` is the position of a row's user in that table, -1 if there is none: numbers compare faster than keys.
    A device has no `user_id` there, because nobody asks for it by that id.
    """
    ids, nobody = rows[columns.USER_ID].combine_chunks().cast(pa.string()), pa.scalar(None, pa.string())
    has_devices = IS_DEVICE in rows.column_names and pc.any(rows[IS_DEVICE]).as_py()
    if has_devices:
        kinds = pc.if_else(pc.fill_null(rows[IS_DEVICE].combine_chunks(), False), "d", "u")
        ids = pc.binary_join_element_wise(kinds, ids, "")
    coded = ids.dictionary_encode()
    ids, is_device = coded.dictionary, pa.repeat(False, len(coded.dictionary))
    if has_devices:
        ids, is_device = pc.utf8_slice_codeunits(ids, 1), pc.starts_with(ids, "d")
    keys = pseudonyms_of(ids, is_device, key)
    names = pa.table({columns.USER_ID: pc.if_else(is_device, nobody, ids), columns.USER_KEY: keys})
    names = names.append_column(KEY_HASH, pa.array(hashes("names", columns.USER_KEY, names=names), pa.uint64()))
    used = [name for name in (columns.USER_ID, IS_DEVICE) if name in rows.column_names]
    keyed = rows.drop_columns(used).add_column(0, columns.USER_KEY, keys.take(coded.indices))
    if CELLS in keyed.column_names:
        cells = protected(keyed[CELLS].combine_chunks(), ids)
        keyed = keyed.set_column(keyed.column_names.index(CELLS), CELLS, cells)
    if has_devices:
        earlier = pseudonyms(pc.if_else(is_device, ids, nobody), key).take(coded.indices)
        keyed = keyed.append_column(EARLIER_USER, earlier)
    return keyed.append_column(USER_CODE, pc.fill_null(coded.indices, -1)), names


def add_fingerprints(events: pa.Table) -> pa.Table:
    """Add `payload_hash` (128 bits of SHA-256 over the payload columns), the hash of the id, and the month.

    The payload of Mixpanel's events is their id, so that no two with the same id differ. An event of a device gets the
    `earlier_hash` too, which it had before devices got keys of their own.
    """
    earlier = {columns.USER_KEY: EARLIER_USER, columns.SESSION_ID: EARLIER_SESSION}
    known = {name: own for name, own in earlier.items() if own in events.column_names}
    payload = events.select([*PAYLOAD_COLUMNS, *known.values()])
    replaced = {name: f"coalesce({own}, {name})" for name, own in known.items()}
    is_changed = " OR ".join(f"{own} IS NOT NULL" for own in known.values()) or "false"
    hashed = query(
        f"""
        SELECT {_hash_of({})} AS {columns.PAYLOAD_HASH},
            CASE WHEN {is_changed} THEN {_hash_of(replaced)} END AS {EARLIER_HASH},
            {ID_HASHED} AS {ID_HASH}, strftime({columns.OCCURRED_AT}, '%Y-%m') AS {columns.MONTH}
        FROM payload
        """,
        payload=payload,
    )
    events = events.drop_columns(list(known.values()))
    for name in hashed.column_names:
        events = events.append_column(name, hashed[name])
    return events


def _hash_of(replaced: Mapping[str, str]) -> str:
    """Return SQL for the hash of an event's payload, with other values in place of some columns."""
    texts = ", ".join(f"coalesce({_text(name, replaced.get(name, name))}, '')" for name in PAYLOAD_COLUMNS)
    return f"""left(sha256(CASE WHEN starts_with({columns.EVENT_ID}, '{MIXPANEL_EVENT}') THEN {columns.EVENT_ID}
        ELSE concat_ws(chr(31), {texts}) END), 32)"""


def _text(name: str, value: str) -> str:
    return f"{f'epoch_us({value})' if name == columns.OCCURRED_AT else value}::varchar"


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

"""Makes chunks of a batch from messages: acts of visitors, and impressions of the items that they were shown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models import columns
from models.ingest.canonical_schema import EVENTS
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS
from models.ingest.traffic.traffic_filter import MARKS
from models.primitives.arrow_types import ArrowColumn
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment
from tasks.ingest.entity_updates.apply import DEVICE, Update
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.events.event_chunk import EventChunk
from tasks.ingest.events.tabular_chunks import consent_updates
from tasks.ingest.inbox.rows import InboxRow
from tasks.ingest.validation.deduplication import hashes
from tasks.ingest.validation.event_enrichment import KEY_HASH, add_fingerprints
from tasks.ingest.validation.row_triage import USER_CODE

CHUNK_ROWS: Final = 5_000
"""Messages in a chunk."""
IMPRESSION: Final = "impression"
_TEXTS: Final = (columns.ITEM_ID, columns.EVENT_TYPE, columns.CURRENCY, columns.PLACEMENT, columns.RECOMMENDATION_ID)
_NUMBERS: Final = (columns.QUANTITY, columns.VALUE, columns.RATING)
_MOST_POSITION: Final = 2**31 - 1
_LEFT_OUT: Final = (columns.USER_ID, "anonymous_id", "row_number", columns.USER_AGENT, columns.IP)
_SCHEMA: Final = pa.schema(
    [(columns.USER_KEY, pa.string()), *((one.name, one.type) for one in EVENTS if one.name not in _LEFT_OUT)]
)


def read_chunks(rows: Sequence[InboxRow], _intake: Intake) -> Iterator[tuple[EventChunk, int]]:
    """Yield the chunks of a batch's rows, each with its number of rows; always the same ones."""
    first = 0
    for start in range(0, len(rows), CHUNK_ROWS):
        part = rows[start : start + CHUNK_ROWS]
        chunk = _chunk(part, first)
        yield chunk, len(part)
        first += chunk.read


def _chunk(rows: Sequence[InboxRow], first: int) -> EventChunk:
    """Return messages as a chunk. An answer to nobody in particular is no event, and so is routed."""
    events = [event for row in rows for event in _events(row)]
    routed = sum(row.kind == "impressions" and row.subject is None for row in rows)
    table, users = prepared(pa.Table.from_pylist(events, _SCHEMA), np.arange(first, first + len(events)))
    return EventChunk(table, users, routed=routed, updates=partial(_updates, rows, table))


def _events(row: InboxRow) -> Iterator[JsonObject]:
    own = {
        columns.EVENT_ID: f"{row.source}:{row.message_id}",
        columns.USER_KEY: row.subject,
        columns.SESSION_ID: row.session_key,
        columns.RECEIVED_AT: row.received_at,
        columns.CONSENT: row.consent,
    }
    payload = row.payload
    if row.kind != "impressions":
        stated = {name: _text(payload.get(name)) for name in _TEXTS} | {
            name: _number(payload.get(name)) for name in _NUMBERS
        }
        occurred_at = read_moment(payload[columns.OCCURRED_AT]) if columns.OCCURRED_AT in payload else row.received_at
        position = _position(payload.get(columns.POSITION))
        yield own | stated | {columns.OCCURRED_AT: occurred_at, columns.POSITION: position}
    elif row.subject is not None:
        shown = {
            columns.EVENT_TYPE: IMPRESSION,
            columns.OCCURRED_AT: row.received_at,
            columns.PLACEMENT: _text(payload.get(columns.PLACEMENT)),
            columns.RECOMMENDATION_ID: row.message_id,
        }
        for position, item in enumerate(payload["items"], payload["first_position"]):
            place = {columns.EVENT_ID: f"{own[columns.EVENT_ID]}#{position}", columns.POSITION: position}
            yield own | shown | place | {columns.ITEM_ID: _text(item)}


def prepared(
    events: pa.Table, numbers: NDArray[np.int64], marks: Mapping[str, ArrowColumn] = MappingProxyType({})
) -> tuple[pa.Table, pa.Table]:
    """Return events as `prepare_events` does, and their users, whose raw ids the inbox does not have."""
    keys = events[columns.USER_KEY].combine_chunks().dictionary_encode()
    users = users_of(keys.dictionary)
    added = (
        {USER_CODE: pc.fill_null(keys.indices, -1)} | dict.fromkeys(MARKS, pa.repeat(False, len(events))) | dict(marks)
    )
    added |= {KEYS: pa.nulls(len(events), pa.string()), CELLS: pa.nulls(len(events), pa.list_(CELL))}
    for name, values in added.items():
        events = events.append_column(name, values)
    return add_fingerprints(events).append_column(columns.ROW, pa.array(numbers)), users


def users_of(keys: pa.Array) -> pa.Table:
    """Return users as `pseudonymise` does, without raw ids."""
    users = pa.table({columns.USER_ID: pa.nulls(len(keys), pa.string()), columns.USER_KEY: keys})
    return users.append_column(KEY_HASH, pa.array(hashes("users", columns.USER_KEY, users=users), pa.uint64()))


def _updates(rows: Sequence[InboxRow], events: pa.Table, intake: Intake) -> Iterator[Update]:
    """Yield agreements after a refusal, and the users of devices, if they agree."""
    yield from consent_updates(events, intake)
    agreed, suppressed = set(intake.agreed.to_pylist()), set(intake.suppressed.to_pylist())
    owners: dict[str, tuple[datetime, str]] = {}
    for row in rows:
        agrees = row.consent or (row.consent is None and row.user_key in agreed)
        if row.kind == "event" and row.user_key and row.session_key and agrees and row.user_key not in suppressed:
            own = (row.received_at, row.user_key)
            owners[row.session_key] = max(owners.get(row.session_key, own), own)
    for device, (at, owner) in sorted(owners.items()):
        yield Update(DEVICE, device, {columns.USER_KEY: owner}, at)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _position(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_POSITION else None

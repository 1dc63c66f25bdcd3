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
from models.ingest.canonical_schema import EVENTS, IS_DEVICE, ROW_NUMBER
from models.ingest.source_config import MARKS
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS
from models.primitives.arrow_types import ArrowColumn
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment
from tasks.ingest.events.batch_context import BatchContext, EventChunk, RunState
from tasks.ingest.events.tabular_chunks import consent_updates
from tasks.ingest.inbox.rows import InboxRow
from tasks.ingest.inbox.shown_answers import SHOWN, SUBJECT, impressions
from tasks.ingest.rows.apply import DEVICE, Update
from tasks.ingest.validation.deduplication import hashes
from tasks.ingest.validation.event_enrichment import (
    EARLIER_SESSION,
    EARLIER_USER,
    KEY_HASH,
    add_fingerprints,
)
from tasks.ingest.validation.row_triage import USER_CODE

CHUNK_ROWS: Final = 5_000
"""Messages in a chunk."""
_TEXTS: Final = (columns.ITEM_ID, columns.EVENT_TYPE, columns.CURRENCY, columns.PLACEMENT, columns.RECOMMENDATION_ID)
_NUMBERS: Final = (columns.QUANTITY, columns.VALUE, columns.RATING)
_MOST_POSITION: Final = 2**31 - 1
_LEFT_OUT: Final = (columns.USER_ID, IS_DEVICE, ROW_NUMBER, columns.USER_AGENT, columns.IP)
_KEYS: Final = (columns.USER_KEY, EARLIER_USER, EARLIER_SESSION, columns.AUTHORITY)
_SCHEMA: Final = pa.schema(
    [*((name, pa.string()) for name in _KEYS), *((one.name, one.type) for one in EVENTS if one.name not in _LEFT_OUT)]
)


def read_chunks(rows: Sequence[InboxRow], answers: pa.Table, context: BatchContext) -> Iterator[tuple[EventChunk, int]]:
    """Yield the chunks of a batch's rows, each with its number of rows; always the same ones.

    `answers` are those of the rows, as `answers_of` returns them.
    """
    first = answer = 0
    for start, end in borders([row.messages for row in rows], CHUNK_ROWS):
        part = rows[start:end]
        shown = sum(row.messages for row in part if row.kind in SHOWN)
        chunk = _chunk(context, part, answers.slice(answer, shown), first)
        yield chunk, len(part)
        first, answer = first + chunk.read, answer + shown


def borders(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each chunk, and the one after its last, so that a chunk ends once it has `most`."""
    start, size = 0, 0
    for end, own in enumerate(sizes, 1):
        size += own
        if size >= most or end == len(sizes):
            yield start, end
            start, size = end, 0


def _chunk(context: BatchContext, rows: Sequence[InboxRow], answers: pa.Table, first: int) -> EventChunk:
    """Return messages as a chunk. An answer to nobody in particular is no event, and so is routed."""
    acts = pa.Table.from_pylist([_act(row) for row in rows if row.kind == "event"], _SCHEMA)
    events = pa.concat_tables([acts, impressions(answers, _SCHEMA)])
    table, users = prepared(events, np.arange(first, first + len(events)))
    routed = answers[SUBJECT].null_count
    return EventChunk(table, users, routed=routed, updates=partial(_updates, context, rows, table))


def _act(row: InboxRow) -> JsonObject:
    payload = row.payload
    own = {
        columns.EVENT_ID: f"{row.source}:{row.message_id}",
        columns.USER_KEY: row.subject,
        columns.SESSION_ID: row.session_key,
        EARLIER_USER: None if row.user_key else row.earlier_key,
        EARLIER_SESSION: row.earlier_key,
        columns.AUTHORITY: row.authority,
        columns.RECEIVED_AT: row.received_at,
        columns.CONSENT: row.consent,
    }
    stated = {name: _text(payload.get(name)) for name in _TEXTS}
    numbers = {name: _number(payload.get(name)) for name in _NUMBERS}
    occurred_at = read_moment(payload[columns.OCCURRED_AT]) if columns.OCCURRED_AT in payload else row.received_at
    position = _position(payload.get(columns.POSITION))
    return own | stated | numbers | {columns.OCCURRED_AT: occurred_at, columns.POSITION: position}


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


def _updates(context: BatchContext, rows: Sequence[InboxRow], events: pa.Table, run: RunState) -> Iterator[Update]:
    """Yield agreements after a refusal, and the users of devices, if they agree."""
    yield from consent_updates(context, events, run)
    agreed, suppressed = set(run.agreed.to_pylist()), set(context.suppressed.to_pylist())
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

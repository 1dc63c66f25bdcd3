"""Makes chunks of a batch from messages: acts of visitors, and impressions of the items that they were shown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection

from infra.database.bulk_copy import insert_new
from infra.database.schema.serving_schema import served_answers
from models import columns
from models.datasets.labels import IMPRESSION, SHOWN_AT
from models.ingest.canonical_schema import EVENTS, INSTANT, IS_DEVICE, ROW_NUMBER
from models.ingest.source_config import MARKS
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS
from models.primitives.arrow_types import ArrowColumn
from models.primitives.json_types import JsonObject
from models.primitives.time import read_moment
from tasks.ingest.events.chunk_readers import consent_updates
from tasks.ingest.events.classification import BatchContext, EventChunk, RunState
from tasks.ingest.inbox.messages import ANSWERS, InboxRow
from tasks.ingest.rows.apply import DEVICE, Update
from tasks.ingest.validation.event_identity import EARLIER_SESSION, EARLIER_USER, KEY_HASH, add_fingerprints, hashes
from tasks.ingest.validation.row_triage import USER_CODE

_SINGLE: Final = "impressions"
"""The kind of a row with one answer, which other programs write."""
SHOWN: Final = (ANSWERS, _SINGLE)
"""The kinds of rows with answers."""
_ITEMS, _FIRST, _SESSION = "items", "first_position", "session_key"
_ORIGIN: Final = {
    columns.RECOMMENDATION_ID: pa.string(),
    columns.PLACEMENT: pa.string(),
    columns.BATCH_ID: pa.int64(),
    columns.MODEL_VERSION: pa.int64(),
    "variant": pa.string(),
    "propensity": pa.float64(),
    columns.SOURCE: pa.string(),
    SHOWN_AT: pa.string(),
}
"""The columns of `served_answers`."""
_FIELDS: Final = _ORIGIN | {
    _ITEMS: pa.list_(pa.string()),
    _FIRST: pa.int64(),
    columns.USER_KEY: pa.string(),
    _SESSION: pa.string(),
    columns.CONSENT: pa.bool_(),
}
SUBJECT: Final = "subject"
"""The user, or the device of an unknown user; null for an answer to nobody in particular."""
_MESSAGE: Final = "message"
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


def answers_of(rows: Sequence[InboxRow]) -> pa.Table:
    """Return the answers among the rows, in order, with their `message` (source and id) and their `subject`."""
    shown = [row for row in rows if row.kind in SHOWN]
    groups = [row.payload if row.kind == ANSWERS else _alone(row) for row in shown]
    found = {
        name: pa.array(list(chain.from_iterable(group[name] for group in groups)), kind)
        for name, kind in _FIELDS.items()
    }
    sizes = np.array([row.messages for row in shown], np.int64)
    sources = np.repeat(np.array([row.source for row in shown], object), sizes)
    received = pa.array(np.repeat(np.array([row.received_at for row in shown], object), sizes), INSTANT)
    # A clock of a sender may be ahead of the database's.
    shown_at = found[SHOWN_AT].cast(INSTANT)
    found[SHOWN_AT] = pc.if_else(pc.less(shown_at, received), shown_at, received)
    found[_MESSAGE] = pc.binary_join_element_wise(pa.array(sources, pa.string()), found[columns.RECOMMENDATION_ID], ":")
    found[SUBJECT] = pc.coalesce(found[columns.USER_KEY], found[_SESSION])
    return pa.table(found)


def _alone(row: InboxRow) -> Mapping[str, Sequence[Any]]:
    own = row.payload | {
        columns.PLACEMENT: _text(row.payload.get(columns.PLACEMENT)),
        _ITEMS: [_text(item) for item in row.payload[_ITEMS]],
        _FIRST: row.payload.get(_FIRST, 1),
        columns.RECOMMENDATION_ID: row.message_id,
        columns.USER_KEY: row.user_key,
        _SESSION: row.session_key,
        columns.CONSENT: row.consent,
        SHOWN_AT: row.received_at.isoformat(),
    }
    return {name: [own.get(name)] for name in _FIELDS}


def impressions(answers: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the impressions of answers that were shown to somebody, as events of this schema."""
    known = answers.filter(pc.is_valid(answers[SUBJECT])).combine_chunks()
    items = known[_ITEMS].combine_chunks()
    answer = pc.list_parent_indices(items)
    own = known.drop_columns([_ITEMS]).take(answer)
    sizes = pc.list_value_length(items).to_numpy(zero_copy_only=False)
    place = np.arange(len(answer)) - (np.cumsum(sizes) - sizes)[answer.to_numpy()]
    position = pc.add(own[_FIRST], pa.array(place, pa.int64()))
    item = pc.list_flatten(items)
    stated = {
        columns.EVENT_ID: pc.binary_join_element_wise(own[_MESSAGE], position.cast(pa.string()), "#"),
        columns.USER_KEY: own[SUBJECT],
        columns.SESSION_ID: own[_SESSION],
        columns.ITEM_ID: item,
        columns.EVENT_TYPE: pa.repeat(IMPRESSION, len(item)),
        columns.OCCURRED_AT: own[SHOWN_AT],
        columns.RECEIVED_AT: own[SHOWN_AT],
        columns.PLACEMENT: own[columns.PLACEMENT],
        columns.POSITION: position,
        columns.RECOMMENDATION_ID: own[columns.RECOMMENDATION_ID],
        columns.CONSENT: own[columns.CONSENT],
    }
    rows = {one.name: stated.get(one.name, pa.nulls(len(item), one.type)) for one in schema}
    return pa.table({one.name: rows[one.name].cast(one.type) for one in schema})


def store_origins(connection: Connection, answers: pa.Table) -> None:
    """Store the origin of each answer, once."""
    if len(answers):
        insert_new(connection, served_answers, answers.select(list(_ORIGIN)))


def read_chunks(
    rows: Sequence[InboxRow], answers: pa.Table, _context: BatchContext
) -> Iterator[tuple[EventChunk, int]]:
    """Yield the chunks of a batch's rows, each with its number of rows; always the same ones.

    `answers` are those of the rows, as `answers_of` returns them.
    """
    first = answer = 0
    for start, end in borders([row.messages for row in rows], CHUNK_ROWS):
        part = rows[start:end]
        shown = sum(row.messages for row in part if row.kind in SHOWN)
        chunk = _chunk(part, answers.slice(answer, shown), first)
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


def _chunk(rows: Sequence[InboxRow], answers: pa.Table, first: int) -> EventChunk:
    """Return messages as a chunk. An answer to nobody in particular is no event, and so is routed."""
    acts = pa.Table.from_pylist([_act(row) for row in rows if row.kind == "event"], _SCHEMA)
    events = pa.concat_tables([acts, impressions(answers, _SCHEMA)])
    table, users = prepared(events, np.arange(first, first + len(events)))
    routed = answers[SUBJECT].null_count
    return EventChunk(table, users, routed=routed, updates=partial(_updates, rows, table))


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


def _updates(rows: Sequence[InboxRow], events: pa.Table, context: BatchContext, run: RunState) -> Iterator[Update]:
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

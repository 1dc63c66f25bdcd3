"""Reads the answers that visitors were shown as columns, and makes impressions of them: one for each item."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from infra.database.bulk_copy import insert_new
from infra.database.schema.serving_schema import served_answers
from models import columns
from models.datasets.labels import IMPRESSION, SHOWN_AT
from tasks.ingest.inbox.rows import ANSWERS, InboxRow

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
_INSTANT: Final = pa.timestamp("us", tz="UTC")


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
    received = pa.array(np.repeat(np.array([row.received_at for row in shown], object), sizes), _INSTANT)
    # A clock of a sender may be ahead of the database's.
    shown_at = found[SHOWN_AT].cast(_INSTANT)
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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


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

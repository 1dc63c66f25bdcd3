"""Makes chunks of a batch from calls, by the parser and the rules of Segment's files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from infra.keys.credentials import DEVICE
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest.canonical_schema import ALIASES, ANONYMOUS_ID, IS_DEVICE, REASON, ROW_NUMBER, ParsedLines
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.segment.single_calls import ALIAS, FAULT, FOUND_MARKS, JOINING, occurred_at
from models.ingest.source_config import MARKS
from models.primitives.json_types import JsonObject
from tasks.ingest.events.chunk_readers import EntityUpdates, no_people, without_placeholders
from tasks.ingest.events.classification import BatchContext, EventChunk, RunState
from tasks.ingest.inbox.event_chunks import borders, prepared, users_of
from tasks.ingest.inbox.messages import InboxRow, unusable
from tasks.ingest.rows.apply import ITEM_SEEN, UNCONFIRMED, Update
from tasks.ingest.validation.event_identity import EARLIER_USER

CHUNK_ROWS: Final = 50_000
"""Calls and products of calls in a chunk, which are in memory together."""


def read_chunks(
    rows: Sequence[InboxRow], mapping: SegmentMapping, context: BatchContext
) -> Iterator[tuple[EventChunk, int]]:
    """Yield the chunks of a batch's calls, each with its number of calls; always the same ones."""
    updates, first = EntityUpdates(lambda ids, _is_device: ids.cast(pa.string())), 0
    # The inbox holds pseudonyms, so that words for an unknown user are pseudonyms, too.
    nobody, key = pa.array(no_people(mapping), pa.string()), context.installation.key
    placeholders = [*pseudonyms(nobody, key).to_pylist(), *pseudonyms(nobody, key, DEVICE).to_pylist()]
    for start, end in borders(list(map(_size, rows)), CHUNK_ROWS):
        part = rows[start:end]
        parsed = replace(mapping.parse_lines(_lines(part)), aliases=_aliases(part))
        named, lines = _described_by_servers(part, without_placeholders(parsed, placeholders), mapping, context)
        events, users = _events(part, lines, first)
        lines = _without_claims(part, lines)
        last = end == len(rows)
        chunk = EventChunk(
            events,
            users,
            _trait_users(lines),
            named,
            len(lines.routed),
            _unreadable(part, lines, first + len(events)),
            partial(_updates, updates, named.to_pylist(), lines, last),
            lines.cleaned,
        )
        yield chunk, len(part)
        first += chunk.read


def _size(row: InboxRow) -> int:
    properties = row.payload.get("properties")
    products = properties.get("products") if isinstance(properties, dict) else None
    return 1 + (len(products) if isinstance(products, list) else 0)


def _lines(rows: Sequence[InboxRow]) -> pa.Table:
    """Return calls as lines of a file, with pseudonyms as ids, and times by the server's clock."""
    sound = [place for place, row in enumerate(rows) if FAULT not in row.payload]
    text = pa.array([_written(_call(rows[place])) for place in sound], pa.binary())
    return pa.table({ROW_NUMBER: pa.array(sound, pa.int64()), "text": text})


def _written(call: JsonObject) -> bytes:
    """Return JSON. PostgreSQL gives 1e30 back as a whole number, which only the slower writer takes."""
    try:
        return orjson.dumps(call)
    except orjson.JSONEncodeError:
        return json.dumps(call).encode()


def _call(row: InboxRow) -> JsonObject:
    at = occurred_at(row.payload, row.received_at)
    return {
        **{name: value for name, value in row.payload.items() if name != FOUND_MARKS},
        "messageId": f"{row.source}:{row.message_id}",
        "userId": row.user_key,
        "anonymousId": row.session_key,
        "timestamp": at.isoformat() if isinstance(at, datetime) else at,
        "receivedAt": row.received_at.isoformat(),
    }


def _aliases(rows: Sequence[InboxRow]) -> pa.Table:
    """Return the devices of users. By a server's key an alias joins two users, too.

    What a page states counts from its receipt: the clock of a visitor could be set to any time.
    """
    joined = []
    for place, row in enumerate(rows):
        kind = str(row.payload.get("type")).lower()
        if kind in JOINING and row.user_key and FAULT not in row.payload:
            of_server = row.authority == columns.SERVER
            at = occurred_at(row.payload, row.received_at) if of_server else row.received_at
            own = {ROW_NUMBER: place, columns.USER_ID: row.user_key, columns.AUTHORITY: row.authority}
            own[columns.OCCURRED_AT] = at if isinstance(at, datetime) else None
            joined.append(own | {ANONYMOUS_ID: row.session_key, IS_DEVICE: True})
            if of_server and kind == ALIAS and row.earlier_key != row.user_key:
                joined.append(own | {ANONYMOUS_ID: row.earlier_key, IS_DEVICE: False})
    named = [one for one in joined if one[ANONYMOUS_ID]]
    return pa.Table.from_pylist(named, ALIASES.append(pa.field(columns.AUTHORITY, pa.string())))


def _without_claims(rows: Sequence[InboxRow], lines: ParsedLines) -> ParsedLines:
    """Return lines whose traits and answers about consent are those of the device where a page claims to know the user.

    Otherwise everybody with the key of a page could change them.
    """

    def of_device(table: pa.Table) -> pa.Table:
        users = zip(table[ROW_NUMBER].to_pylist(), table[columns.USER_ID].to_pylist(), strict=True)
        own = [rows[place].session_key if rows[place].authority == columns.CLAIM else user for place, user in users]
        replaced = {columns.USER_ID: pa.array(own, pa.string()), IS_DEVICE: pa.repeat(False, len(own))}
        for name, values in replaced.items():  # keys of devices differ from those of users
            table = table.set_column(table.column_names.index(name), name, values)
        return table

    users = of_device(lines.users)
    return replace(
        lines,
        events=of_device(lines.events),
        users=users.filter(pc.is_valid(users[columns.USER_ID])),
        answers=of_device(lines.answers),
    )


def _described_by_servers(
    rows: Sequence[InboxRow], lines: ParsedLines, mapping: SegmentMapping, context: BatchContext
) -> tuple[pa.Array, ParsedLines]:
    """Return the items that calls name and the catalogue lacks, and lines with what servers state of those.

    Everybody can read the key of a page.
    """

    named = pc.unique(_without(lines.items, context.catalogue)[columns.ITEM_ID]).cast(pa.string())
    served = [row for row in rows if row.authority == columns.SERVER]
    described = lines if len(served) == len(rows) else mapping.parse_lines(_lines(served))
    known = context.catalogue.filter(pc.invert(pc.is_in(context.catalogue, value_set=context.unconfirmed)))
    items, changes = (_without(table, known) for table in (described.items, described.item_changes))
    return named, replace(lines, items=items, item_changes=changes)


def _without(table: pa.Table, known: pa.Array) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table[columns.ITEM_ID], value_set=known)))


def _updates(
    of_calls: EntityUpdates, named: list[str], lines: ParsedLines, last: bool, context: BatchContext, run: RunState
) -> Iterator[Update]:
    if not context.mapping.accepts_unknown_items:  # otherwise events are enough
        yield from (Update(ITEM_SEEN, item, UNCONFIRMED, None) for item in named)
    yield from of_calls.of_chunk(lines, last, context, run)


def _events(rows: Sequence[InboxRow], lines: ParsedLines, first: int) -> tuple[pa.Table, pa.Table]:
    found = [rows[place].payload.get(FOUND_MARKS, ()) for place in lines.events[ROW_NUMBER].to_pylist()]
    marks = {mark: pa.array([mark in own for own in found], pa.bool_()) for mark in MARKS}
    own = [rows[place] for place in lines.events[ROW_NUMBER].to_pylist()]
    earlier = [None if row.user_key else row.earlier_key for row in own]
    events = lines.events.drop_columns([ROW_NUMBER, IS_DEVICE, columns.USER_AGENT, columns.IP])
    names = [columns.USER_KEY if name == columns.USER_ID else name for name in events.column_names]
    events = events.rename_columns(names).append_column(EARLIER_USER, pa.array(earlier, pa.string()))
    events = events.append_column(columns.AUTHORITY, pa.array([row.authority for row in own], pa.string()))
    return prepared(events, np.arange(first, first + len(events)), marks)


def _trait_users(lines: ParsedLines) -> pa.Table:
    """Return the users who state traits, with their consent to that; a user may occur twice."""
    users = users_of(lines.users[columns.USER_ID].combine_chunks().cast(pa.string()))
    return users.append_column(columns.CONSENT, lines.users[columns.CONSENT])


def _unreadable(rows: Sequence[InboxRow], lines: ParsedLines, first: int) -> pa.Table:
    """Return calls that cannot be read for quarantine: their ids and faults, without their values."""
    faults = {place: row.payload[FAULT] for place, row in enumerate(rows) if FAULT in row.payload}
    bad = lines.unreadable
    faults |= dict(zip(bad[ROW_NUMBER].to_pylist(), bad[REASON].to_pylist(), strict=True))
    return unusable(rows, dict(sorted(faults.items())), range(first, first + len(faults)))

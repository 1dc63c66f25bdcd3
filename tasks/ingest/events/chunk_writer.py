"""Stores chunks of events of any format: what PostgreSQL keeps of them, then the events of the lake."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection

from expectations.batches import IN_CATALOGUE
from infra.database.bulk_copy import insert_new
from infra.database.schema.schema import users
from infra.keys.identity import key_version, remember
from models import columns
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.source_config import MARKS
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.events.classification import BatchContext, ClassifiedChunk, EventChunk, RunState, before, triage
from tasks.ingest.ledger import Batch, ChunkEntry
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import ITEM_SEEN, UNCONFIRMED, Update
from tasks.ingest.rows.quarantine import mark_resolved, store_quarantined, store_repeats
from tasks.ingest.rows.statements import PERSON
from tasks.ingest.rows.variants import by_item
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import ID_HASH
from tasks.quality.chunk_profile import ChunkProfile, Counts, UserCounts, with_counts

LATE: Final = "late"
_NO_USER_RULES: Final = {*row_triage.TRAFFIC, "user_id_placeholder", "user_id_too_long"}
"""Rules on rows whose user is not a person to remember."""


@dataclass(frozen=True)
class PreparedChunk:
    """The rows of a chunk that PostgreSQL and the lake store."""

    batch: Batch
    chunk: int
    accepted: pa.Table
    """The accepted events, with the columns of the lake."""
    repeated: pa.Table
    introduced: pa.Table
    """`user_id` and `user_key` of the users whom this run names for the first time, with their batch."""
    updates: Sequence[Update]
    quarantined: Sequence[pa.Table]
    """Rows that break a rule, and unreadable lines."""
    counts: Counts
    profile: ChunkProfile

    def entry(self, new: int) -> ChunkEntry:
        """Return the ledger's record of the chunk; `new` rows of quarantine are stored for the first time."""
        repeated = sum(map(len, self.quarantined)) - new
        counts = self.counts | {"quarantined": new, "duplicate": self.counts["duplicate"] + repeated}
        return ChunkEntry(self.batch.batch_id, self.chunk, counts, with_counts(self.profile, counts))


def write(context: BatchContext, run: RunState, chunk: EventChunk, classified: ClassifiedChunk, number: int) -> None:
    """Store one chunk: the rows of PostgreSQL in one transaction, then the events, once."""
    triaged = triage(context, run, classified)
    prepared = prepare(context, run, chunk, classified, triaged, number)
    context.confirm()
    with context.installation.engine.begin() as connection:
        record(context, connection, [prepared])
    append(context, prepared.accepted, number)
    run.event_ids.add(triaged.accepted[ID_HASH].to_numpy())


def prepare(
    context: BatchContext,
    run: RunState,
    chunk: EventChunk,
    classified: ClassifiedChunk,
    triaged: row_triage.TriagedEvents,
    number: int,
) -> PreparedChunk:
    """Return the rows of a chunk for `record` and `append`. Its users and items are known from here on."""
    numbering, bad = chunk.numbering, triaged.quarantined
    rows = row_triage.with_row_numbers(bad, numbering) if numbering else bad
    quarantined = [rows, *([chunk.unreadable] if chunk.unreadable is not None else [])]
    accepted = for_lake(context, triaged.accepted)
    profile = _profile(context, chunk, classified, quarantined, accepted)
    # A page without a signature cannot agree in place of a user who was never asked.
    unproven = (columns.CLAIM,) if context.mapping.consent == "opt-in" else ()
    codes = _memorable_users(len(chunk.users), classified, triaged, unproven)
    users, trait_users = chunk.users.take(pa.array(codes)), _trait_users(context, run, chunk)
    outside_lake = chunk.users.take(pa.array(codes[~_users_of(len(chunk.users), triaged.accepted)[codes]]))
    updates = [
        *chunk.updates(context, run),
        *item_updates(context, run, triaged.accepted, triaged.repeated),
        *_person_updates(outside_lake, *trait_users),
    ]
    counts = triaged.counts | {"read": chunk.read, "routed": triaged.counts["routed"] + chunk.routed}
    introduced = run.introduce(pa.concat_tables([users, *trait_users]))
    introduced = introduced.append_column(columns.BATCH_ID, pa.repeat(context.batch.batch_id, len(introduced)))
    repeated = for_lake(context, triaged.repeated)
    return PreparedChunk(context.batch, number, accepted, repeated, introduced, updates, quarantined, counts, profile)


def _profile(
    context: BatchContext,
    chunk: EventChunk,
    classified: ClassifiedChunk,
    quarantined: Sequence[pa.Table],
    accepted: pa.Table,
) -> ChunkProfile:
    profile: ChunkProfile = {
        **row_triage.of_events(chunk.events),
        **row_triage.of_quarantined(*quarantined),
        **row_triage.time_span(accepted),
        "cleaned": chunk.cleaned,
        "late": int(pc.sum(accepted[LATE]).as_py() or 0),
        "impressions": row_triage.impressions(accepted),
    }
    if chunk.unread:
        profile["unread"] = chunk.unread
    if chunk.numbering and chunk.numbering.encoding:
        profile["encoding"] = chunk.numbering.encoding
    # Devices in Segment calls are new all the time, so that only tables are compared with known users.
    if context.has_earlier_users and isinstance(context.mapping, Mapping):
        suppressed = classified.suppressed
        dropped = suppressed if context.mapping.consent == "opt-in" else np.zeros(len(suppressed), bool)
        profile["people"] = _count_users(classified, dropped)
    return profile


def record(context: BatchContext, connection: Connection, chunks: Sequence[PreparedChunk]) -> list[ChunkProfile]:
    """Store the PostgreSQL rows of chunks, one of each batch and in order; returns the chunks' profiles."""
    places = [(chunk.batch.batch_id, chunk.chunk) for chunk in chunks]
    _introduce(context, connection, pa.concat_tables([chunk.introduced for chunk in chunks]))
    apply.stage(connection, dict(zip(places, (chunk.updates for chunk in chunks), strict=True)))
    store_repeats(connection, dict(zip(places, (chunk.repeated for chunk in chunks), strict=True)))
    quarantined = dict(zip(places, (chunk.quarantined for chunk in chunks), strict=True))
    new = store_quarantined(connection, chunks[0].batch.source, quarantined)
    keys = [chunk.accepted[columns.EVENT_ID] for chunk in chunks]
    mark_resolved(connection, [chunk.batch for chunk in chunks], keys, context.quarantined_subjects)
    entries = [chunk.entry(new.get(chunk.batch.batch_id, 0)) for chunk in chunks]
    ledger.record_chunks(connection, *entries)
    return [entry.profile for entry in entries]


def append(context: BatchContext, accepted: pa.Table, number: int) -> None:
    """Append the events of a chunk to the lake, once, while no other run may write there."""
    context.confirm()
    context.installation.lake.append_events(accepted, context.batch.batch_id, number)


def _trait_users(context: BatchContext, run: RunState, chunk: EventChunk) -> list[pa.Table]:
    """Return the users whose traits may be stored; under opt-in only those who agree in the same call."""
    rows = chunk.trait_users
    if rows is None:
        return []
    agreed = pc.fill_null(rows[columns.CONSENT], pa.scalar(context.mapping.consent != "opt-in"))
    refused = pc.and_(pc.is_null(rows[columns.CONSENT]), pc.is_in(rows[columns.USER_KEY], value_set=run.refused))
    excluded = pc.or_(refused, pc.is_in(rows[columns.USER_KEY], value_set=context.suppressed))
    return [rows.filter(pc.and_(agreed, pc.invert(excluded))).select(chunk.users.column_names)]


def _introduce(context: BatchContext, connection: Connection, new: pa.Table) -> None:
    """Store new users; stored values of known users stay."""
    if not len(new):
        return
    declared = {
        columns.USER_KEY: new[columns.USER_KEY],
        columns.ATTRIBUTES: pa.repeat("{}", len(new)),
        columns.CONSENT: pa.repeat(True, len(new)),
        "consent_source": pa.repeat(context.mapping.consent_note, len(new)),
        columns.BATCH_ID: new[columns.BATCH_ID],
    }
    # A message of the inbox has no raw id: the API has stored it.
    remember(connection, new.filter(pc.is_valid(new[columns.USER_ID])), key_version(context.installation.key))
    insert_new(connection, users, pa.table(declared))


def item_updates(context: BatchContext, run: RunState, *accepted: pa.Table) -> list[Update]:
    """Return the items that these events name, each once per batch, if unknown items are accepted."""
    if not context.mapping.accepts_unknown_items:
        return []
    chunks = [chunk for rows in accepted for chunk in rows[columns.ITEM_ID].chunks]
    items = pc.unique(pa.chunked_array(chunks, pa.string()))
    items = items.filter(pc.invert(pc.is_in(items, value_set=context.variants[columns.VARIANT_ID].combine_chunks())))
    seen = {(context.batch.batch_id, item) for item in items.to_pylist() if item != columns.WHOLE_ORDER}
    seen -= run.stated_items
    run.stated_items |= seen
    names, served = [item for _, item in sorted(seen)], set().union(*map(_served_items, accepted))
    marked = context.mapping.services(names) if isinstance(context.mapping, LineMapping) else ()
    mark = {columns.AVAILABLE: False}
    return [
        Update(ITEM_SEEN, item, ({} if item in served else UNCONFIRMED) | (mark if item in marked else {}), None)
        for item in names
    ]


def for_lake(context: BatchContext, accepted: pa.Table) -> pa.Table:
    """Return accepted events with the columns of the lake: an event on a variant is one on its item.

    Source, batch and lateness are added.
    """
    unstored = {*row_triage.HELPERS, *MARKS}
    rows = accepted.drop_columns([name for name in accepted.column_names if name in unstored])
    rows = by_item(rows, context.variants)
    # Without a time of receipt an event was known when it happened: a file of last year is no news of today.
    received = pc.coalesce(rows[columns.RECEIVED_AT], rows[columns.OCCURRED_AT])
    rows = rows.set_column(rows.column_names.index(columns.RECEIVED_AT), columns.RECEIVED_AT, received)
    origin = {
        LATE: before(rows, context.late_before),
        columns.SOURCE: pa.repeat(context.mapping.name, len(rows)),
        columns.BATCH_ID: pa.repeat(context.batch.batch_id, len(rows)),
    }
    for name, values in origin.items():
        rows = rows.append_column(name, values)
    return rows


def _served_items(rows: pa.Table) -> list[str]:
    """Return the items that files and servers name."""
    if columns.AUTHORITY in rows.column_names:
        rows = rows.filter(pc.equal(rows[columns.AUTHORITY], columns.SERVER))
    items: list[str] = pc.unique(rows[columns.ITEM_ID]).to_pylist()
    return items


def _memorable_users(
    size: int, classified: ClassifiedChunk, triaged: row_triage.TriagedEvents, unproven: Sequence[str]
) -> NDArray[np.int64]:
    """Return the codes (below `size`) of users with events that are accepted, may be replayed, or are routed.

    Events of an `unproven` authority introduce nobody.
    """

    def proven(events: pa.Table) -> pa.Table:
        """Return the events of another authority; all of them without a copy if every authority counts."""
        if not unproven:
            return events
        return events.filter(pc.invert(pc.is_in(events[columns.AUTHORITY], value_set=pa.array(unproven, pa.string()))))

    bad = proven(triaged.quarantined)
    waiting = zip(bad[row_triage.USER_CODE].to_pylist(), bad[row_triage.RULES].to_pylist(), strict=True)
    routed = classified.non_merchandise & ~classified.outside_window & ~classified.suppressed
    memorable = _users_of(size, proven(triaged.accepted))
    memorable |= _users_of(size, proven(classified.events.filter(pa.array(routed))))
    memorable[[code for code, rules in waiting if not _NO_USER_RULES & set(rules)]] = True
    return np.flatnonzero(memorable[:-1])


def _users_of(size: int, events: pa.Table) -> row_triage.Mask:
    """Return which codes below `size` events name; the last place is for code -1, which stands for no user."""
    mask = np.zeros(size + 1, bool)
    mask[events[row_triage.USER_CODE].to_numpy()] = True
    return mask


def _count_users(classified: ClassifiedChunk, dropped: row_triage.Mask) -> UserCounts:
    """Return how many users a chunk names, how many of them are known, and how many rows name a known item.

    The file of another shop has no known ones. `unanswered` are the rows that were `dropped` because their user never
    answered.
    """
    events, known = classified.events, classified.known_users
    never = np.append(classified.unanswered_users, False)[events[row_triage.USER_CODE].to_numpy()]
    unanswered = dropped & pc.is_null(events[columns.CONSENT]).to_numpy() & never
    items = int(pc.sum(events[IN_CATALOGUE]).as_py() or 0)
    return {"named": len(known), "known": int(known.sum()), "items": items, "unanswered": int(unanswered.sum())}


def _person_updates(*users: pa.Table) -> list[Update]:
    """Return an update for each user whose rows do not reach the lake."""
    keys = {key for rows in users for key in rows[columns.USER_KEY].to_pylist()}
    return [Update(PERSON, key, {}, None) for key in sorted(keys)]

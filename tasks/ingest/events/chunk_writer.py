"""Ingests chunks of events of any format: consent, row rules, duplicates; stores to PostgreSQL, then to the lake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, select

from expectations.rules import RowRule
from infra.database.bulk_copy import insert_new
from infra.database.schema.schema import identities, users
from infra.installation import Installation
from infra.keys.identity import key_version, remember
from models import columns
from models.ingest.segment.line_mapping import LineMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.traffic_filter import MARKS
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply as updates
from tasks.ingest.entity_updates import consent
from tasks.ingest.entity_updates.apply import ITEM_SEEN, UNCONFIRMED, Update
from tasks.ingest.events import unknown_users
from tasks.ingest.events.event_chunk import ClassifiedChunk, EventChunk, PreparedChunk
from tasks.ingest.quarantine.resolved_rows import mark_resolved, unmark_resolved
from tasks.ingest.quarantine.store_rows import store_quarantined
from tasks.ingest.undo.repeated_events import store_repeats
from tasks.ingest.undo.statements import PERSON
from tasks.ingest.validation import batch_profile, row_triage
from tasks.ingest.validation.deduplication import ID_HASH, HashSet, KnownIds
from tasks.ingest.validation.event_enrichment import KEY_HASH
from tasks.quality.chunk_profile import ChunkProfile

LATE: Final = "late"
_NO_USER_RULES: Final = {*batch_profile.TRAFFIC, "user_id_placeholder", "user_id_too_long"}
"""Rules on rows whose user is not a person to remember."""


@dataclass
class Intake:
    """A batch that is being ingested, with the reference data that it needs and the users that it has met."""

    installation: Installation
    mapping: SourceMapping
    batch: ledger.Batch
    catalogue: pa.Array
    non_merchandise: pa.Array
    suppressed: pa.Array
    refused_before: set[str]
    """Users met so far who ever refused: only theirs is the time of an agreement relevant."""
    now: datetime
    late_before: datetime
    known: KnownIds
    rules: tuple[RowRule, ...]
    confirm: Callable[[], None] = lambda: None
    """Raises an error if another run may write to the lake by now."""
    unconfirmed: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """The items of the catalogue that only pages have named."""
    refused: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    agreed: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Users met so far, by their answers before this batch."""
    unanswered: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Those of `refused` who never answered."""
    met: HashSet = field(default_factory=HashSet)
    introduced: HashSet = field(default_factory=HashSet)
    """Users whose raw ids are stored."""
    quarantined_subjects: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """The events, items or users of the source's rows in quarantine."""
    has_earlier_users: bool = False
    """Whether earlier batches brought users."""
    seen_items: set[tuple[str, str]] = field(default_factory=set)
    """Items that batches of this run have stated as seen."""

    def classify(self, chunk: EventChunk) -> ClassifiedChunk:
        """Add the columns that rules need, and find the events that they do not concern.

        The chunk's own items and users are known from here on.
        """
        self.load_answers(chunk)
        items = chunk.catalogue_items
        new = items.filter(pc.invert(pc.is_in(items, value_set=self.catalogue)))
        self.catalogue = pa.concat_arrays([self.catalogue, new])
        known = None if self.mapping.accepts_unknown_items else self.catalogue
        events = row_triage.annotate(chunk.events, known, self.now.timestamp())
        non_merchandise = pc.is_in(events[columns.ITEM_ID], value_set=self.non_merchandise)
        early = _before(events, self.mapping.start)
        late = pc.invert(_before(events, self.mapping.end, otherwise=True))
        outside = _mask(early) | _mask(late)
        known_users = self._known(chunk.users)
        unanswered = ~known_users | _mask(pc.is_in(chunk.users[columns.USER_KEY], value_set=self.unanswered))
        return ClassifiedChunk(
            events, self._suppressed_events(chunk), _mask(non_merchandise), outside, known_users, unanswered
        )

    def load_answers(self, chunk: EventChunk) -> None:
        """Read the answers about consent of the users whom no earlier chunk names."""
        tables = [chunk.users, *([chunk.trait_users] if chunk.trait_users is not None else [])]
        users = pa.concat_tables([rows.select([columns.USER_KEY, KEY_HASH]) for rows in tables])
        hashed = users[KEY_HASH].to_numpy()
        unmet = ~self.met.contains(hashed)
        self.met.add(hashed[unmet])
        keys = users[columns.USER_KEY].filter(pa.array(unmet))
        with self.installation.engine.connect() as connection:
            answers = consent.answers_of(connection, keys, self.batch.batch_id)
        self.refused = pa.concat_arrays([self.refused, answers.refused])
        self.agreed = pa.concat_arrays([self.agreed, answers.agreed])
        self.unanswered = pa.concat_arrays([self.unanswered, answers.unanswered])
        self.refused_before.update(answers.refused.to_pylist())
        self.introduced.add(hashed[_mask(pc.is_in(users[columns.USER_KEY], value_set=answers.introduced))])

    def _known(self, users: pa.Table) -> row_triage.Mask:
        answered = pa.concat_arrays([self.agreed, self.refused, self.suppressed])
        return _mask(pc.is_in(users[columns.USER_KEY], value_set=answered))

    def _suppressed_events(self, chunk: EventChunk) -> row_triage.Mask:
        """Return the events of suppressed users, and of users without consent by the source's policy."""
        keys, codes = chunk.users[columns.USER_KEY], chunk.events[row_triage.USER_CODE].to_numpy()
        refused = pc.invert(chunk.events[columns.CONSENT])

        def events_of(users: pa.ChunkedArray) -> row_triage.Mask:
            """Return the events of these users; code -1 stands for no user."""
            mask: row_triage.Mask = np.append(_mask(users), False)[codes]
            return mask

        suppressed = events_of(pc.is_in(keys, value_set=self.suppressed))
        # A page without a signature cannot agree in place of a user who refused.
        is_claim = _mask(pc.equal(chunk.events[columns.AUTHORITY], columns.CLAIM))
        suppressed |= is_claim & events_of(pc.is_in(keys, value_set=self.refused))
        if not refused.null_count:
            return suppressed | _mask(refused)
        if self.mapping.consent == "opt-in":
            without_consent = events_of(pc.invert(pc.is_in(keys, value_set=self.agreed)))
        else:
            without_consent = events_of(pc.is_in(keys, value_set=self.refused))
        return suppressed | np.where(_mask(pc.is_valid(refused)), _mask(refused), without_consent)

    def write(self, chunk: EventChunk, classified: ClassifiedChunk, number: int) -> None:
        """Store one chunk: the rows of PostgreSQL in one transaction, then the events, once."""
        triaged = self.triage(classified)
        prepared = self.prepare(chunk, classified, triaged, number)
        self.confirm()
        with self.installation.engine.begin() as connection:
            self.record(connection, [prepared])
        self.append(prepared.accepted, number)
        self.known.add(triaged.accepted[ID_HASH].to_numpy())

    def triage(self, classified: ClassifiedChunk) -> row_triage.TriagedEvents:
        """Return which events are accepted, quarantined, duplicates or suppressed."""
        return row_triage.triage_events(
            classified.events, self.rules, classified.suppressed, classified.routed, self.known
        )

    def prepare(
        self, chunk: EventChunk, classified: ClassifiedChunk, triaged: row_triage.TriagedEvents, number: int
    ) -> PreparedChunk:
        """Return the rows of a chunk for `record` and `append`. Its users and items are known from here on."""
        numbering, bad = chunk.numbering, triaged.quarantined
        rows = row_triage.with_row_numbers(bad, numbering) if numbering else bad
        quarantined = [rows, *([chunk.unreadable] if chunk.unreadable is not None else [])]
        accepted = self.for_lake(triaged.accepted)
        profile = self._profile(chunk, classified, quarantined, accepted)
        # A page without a signature cannot agree in place of a user who was never asked.
        unproven = (columns.CLAIM,) if self.mapping.consent == "opt-in" else ()
        codes = _memorable_users(len(chunk.users), classified, triaged, unproven)
        users, trait_users = chunk.users.take(pa.array(codes)), self._trait_users(chunk, chunk.users.schema)
        outside_lake = chunk.users.take(pa.array(codes[~_users_of(len(chunk.users), triaged.accepted)[codes]]))
        updates = [
            *chunk.updates(self),
            *self.item_updates(triaged.accepted, triaged.repeated),
            *_person_updates(outside_lake, *trait_users),
        ]
        counts = triaged.counts | {"read": chunk.read, "routed": triaged.counts["routed"] + chunk.routed}
        introduced = self._introduced(pa.concat_tables([users, *trait_users]))
        repeated = self.for_lake(triaged.repeated)
        return PreparedChunk(self.batch, number, accepted, repeated, introduced, updates, quarantined, counts, profile)

    def _profile(
        self, chunk: EventChunk, classified: ClassifiedChunk, quarantined: Sequence[pa.Table], accepted: pa.Table
    ) -> ChunkProfile:
        profile: ChunkProfile = {
            **batch_profile.of_events(chunk.events),
            **batch_profile.of_quarantined(*quarantined),
            **batch_profile.time_span(accepted),
            "cleaned": chunk.cleaned,
            "late": int(pc.sum(accepted[LATE]).as_py() or 0),
            "impressions": batch_profile.impressions(accepted),
        }
        if chunk.unread:
            profile["unread"] = chunk.unread
        if chunk.numbering and chunk.numbering.encoding:
            profile["encoding"] = chunk.numbering.encoding
        # Devices in Segment calls are new all the time, so that only tables are compared with known users.
        if self.has_earlier_users and isinstance(self.mapping, Mapping):
            suppressed = classified.suppressed
            dropped = suppressed if self.mapping.consent == "opt-in" else np.zeros(len(suppressed), bool)
            profile["people"] = unknown_users.count_users(classified, dropped)
        return profile

    def record(self, connection: Connection, chunks: Sequence[PreparedChunk]) -> list[ChunkProfile]:
        """Store the PostgreSQL rows of chunks, one of each batch and in order; returns the chunks' profiles."""
        places = [(chunk.batch.batch_id, chunk.chunk) for chunk in chunks]
        self._introduce(connection, pa.concat_tables([chunk.introduced for chunk in chunks]))
        updates.stage_chunks(connection, dict(zip(places, (chunk.updates for chunk in chunks), strict=True)))
        store_repeats(connection, dict(zip(places, (chunk.repeated for chunk in chunks), strict=True)))
        quarantined = dict(zip(places, (chunk.quarantined for chunk in chunks), strict=True))
        new = store_quarantined(connection, chunks[0].batch.source, quarantined)
        keys = [chunk.accepted[columns.EVENT_ID] for chunk in chunks]
        mark_resolved(connection, [chunk.batch for chunk in chunks], keys, self.quarantined_subjects)
        entries = [chunk.entry(new.get(chunk.batch.batch_id, 0)) for chunk in chunks]
        ledger.record_chunks(connection, entries)
        return [entry.profile for entry in entries]

    def replay_updates(self, chunk: EventChunk) -> None:
        """Rebuild the in-memory state from a chunk that an earlier run stored."""
        for _ in chunk.updates(self):
            pass

    def append(self, accepted: pa.Table, number: int) -> None:
        """Append the events of a chunk to the lake, once, while no other run may write there."""
        self.confirm()
        self.installation.lake.append_events(accepted, self.batch.batch_id, number)

    def _trait_users(self, chunk: EventChunk, schema: pa.Schema) -> list[pa.Table]:
        """Return the users whose traits may be stored; under opt-in only those who agree in the same call."""
        rows = chunk.trait_users
        if rows is None:
            return []
        agreed = pc.fill_null(rows[columns.CONSENT], pa.scalar(self.mapping.consent != "opt-in"))
        refused = pc.and_(pc.is_null(rows[columns.CONSENT]), pc.is_in(rows[columns.USER_KEY], value_set=self.refused))
        excluded = pc.or_(refused, pc.is_in(rows[columns.USER_KEY], value_set=self.suppressed))
        return [rows.filter(pc.and_(agreed, pc.invert(excluded))).select(schema.names)]

    def _introduced(self, users: pa.Table) -> pa.Table:
        """Return the users whom this run names for the first time."""
        hashed = users[KEY_HASH].to_numpy()
        unknown = ~self.introduced.contains(hashed)
        self.introduced.add(hashed[unknown])
        new = users.filter(pa.array(unknown)).select([columns.USER_ID, columns.USER_KEY])
        return new.append_column(columns.BATCH_ID, pa.repeat(self.batch.batch_id, len(new)))

    def _introduce(self, connection: Connection, new: pa.Table) -> None:
        """Store new users; stored values of known users stay."""
        if not len(new):
            return
        declared = {
            columns.USER_KEY: new[columns.USER_KEY],
            columns.ATTRIBUTES: pa.repeat("{}", len(new)),
            columns.CONSENT: pa.repeat(True, len(new)),
            "consent_source": pa.repeat(self.mapping.consent_note, len(new)),
            columns.BATCH_ID: new[columns.BATCH_ID],
        }
        # A message of the inbox has no raw id: the API has stored it.
        remember(connection, new.filter(pc.is_valid(new[columns.USER_ID])), key_version(self.installation.key))
        insert_new(connection, users, pa.table(declared))

    def item_updates(self, *accepted: pa.Table) -> list[Update]:
        """Return the items that these events name, each once per batch, if unknown items are accepted."""
        if not self.mapping.accepts_unknown_items:
            return []
        chunks = [chunk for rows in accepted for chunk in rows[columns.ITEM_ID].chunks]
        items = pc.unique(pa.chunked_array(chunks, pa.string()))
        new = items.filter(pc.invert(pc.is_in(items, value_set=self.catalogue)))
        self.catalogue = pa.concat_arrays([self.catalogue, new])
        seen = {(self.batch.batch_id, item) for item in items.to_pylist() if item != columns.WHOLE_ORDER}
        seen -= self.seen_items
        self.seen_items |= seen
        names, served = [item for _, item in sorted(seen)], set().union(*map(_served_items, accepted))
        marked = self.mapping.services(names) if isinstance(self.mapping, LineMapping) else ()
        mark = {columns.AVAILABLE: False}
        return [
            Update(ITEM_SEEN, item, ({} if item in served else UNCONFIRMED) | (mark if item in marked else {}), None)
            for item in names
        ]

    def for_lake(self, accepted: pa.Table) -> pa.Table:
        """Return accepted events with the columns of the lake: their source, batch and lateness are added."""
        unstored = {*row_triage.HELPERS, *MARKS}
        rows = accepted.drop_columns([name for name in accepted.column_names if name in unstored])
        # Without a time of receipt an event was known when it happened: a file of last year is no news of today.
        received = pc.coalesce(rows[columns.RECEIVED_AT], rows[columns.OCCURRED_AT])
        rows = rows.set_column(rows.column_names.index(columns.RECEIVED_AT), columns.RECEIVED_AT, received)
        origin = {
            LATE: _before(rows, self.late_before),
            columns.SOURCE: pa.repeat(self.mapping.name, len(rows)),
            columns.BATCH_ID: pa.repeat(self.batch.batch_id, len(rows)),
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

    def proven(events: pa.Table) -> pa.Array:
        return pc.invert(pc.is_in(events[columns.AUTHORITY], value_set=pa.array(unproven, pa.string())))

    bad = triaged.quarantined.filter(proven(triaged.quarantined))
    waiting = zip(bad[row_triage.USER_CODE].to_pylist(), bad[row_triage.RULES].to_pylist(), strict=True)
    routed = classified.non_merchandise & ~classified.outside_window & ~classified.suppressed
    routed &= _mask(proven(classified.events))
    memorable = _users_of(size, triaged.accepted.filter(proven(triaged.accepted)))
    memorable[classified.events[row_triage.USER_CODE].to_numpy()[routed]] = True
    memorable[[code for code, rules in waiting if not _NO_USER_RULES & set(rules)]] = True
    return np.flatnonzero(memorable[:-1])


def _users_of(size: int, events: pa.Table) -> row_triage.Mask:
    """Return which codes below `size` events name; the last place is for code -1, which stands for no user."""
    mask = np.zeros(size + 1, bool)
    mask[events[row_triage.USER_CODE].to_numpy()] = True
    return mask


def _person_updates(*users: pa.Table) -> list[Update]:
    """Return an update for each user whose rows do not reach the lake."""
    keys = {key for rows in users for key in rows[columns.USER_KEY].to_pylist()}
    return [Update(PERSON, key, {}, None) for key in sorted(keys)]


def _before(events: pa.Table, moment: datetime | None, *, otherwise: bool = False) -> pa.ChunkedArray:
    """Return which events occurred before a moment; `otherwise` if either time is unknown."""
    occurred = events[columns.OCCURRED_AT]
    if moment is None:
        return pa.repeat(otherwise, len(events))
    return pc.fill_null(pc.less(occurred, pa.scalar(moment, occurred.type)), otherwise)


def _mask(flags: pa.ChunkedArray) -> row_triage.Mask:
    mask: row_triage.Mask = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return mask


def remove_introduced(connection: Connection, batch_id: str) -> None:
    """Remove the users that a refused batch introduced, except refusals that an undo left there."""
    introduced = (users.c.batch_id == batch_id, users.c.refused_at.is_(None))
    keys = select(users.c.user_key).where(*introduced)
    connection.execute(delete(identities).where(identities.c.user_key.in_(keys)))
    connection.execute(delete(users).where(*introduced))
    unmark_resolved(connection, batch_id)

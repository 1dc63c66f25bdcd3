"""Takes chunks of events in, whatever they came as: consent, row rules, duplicates; first Postgres, then the lake."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

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
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.config import Mapping
from models.ingest.traffic_filter import MARKS
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply as updates
from tasks.ingest.entity_updates import consent
from tasks.ingest.entity_updates.apply import ITEM_SEEN, Update
from tasks.ingest.events import unknown_users
from tasks.ingest.quarantine.resolved_rows import keep_waiting, mark_resolved
from tasks.ingest.quarantine.store_rows import store_waiting
from tasks.ingest.undo.repeated_events import store_repeats
from tasks.ingest.undo.statements import PERSON
from tasks.ingest.validation import batch_profile as profile
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.deduplication import ID_HASH, HashSet, KnownIds
from tasks.ingest.validation.event_enrichment import KEY_HASH
from tasks.quality import user_remarks
from tasks.sources import table_files

LATE: Final = "late"
_NOBODY: Final = {*profile.TRAFFIC, "user_id_placeholder", "user_id_too_long"}
"""Rules that say that a user is none."""


@dataclass(frozen=True)
class Part:
    """One chunk of a batch: its events as `prepared`, and what else its rows came to."""

    events: pa.Table
    names: pa.Table
    """`user_id` and `user_key` of everybody in it."""
    identified: pa.Table | None = None
    """The names of who tells something of themselves, and the `consent` to that."""
    named: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Items that the chunk itself puts into the catalogue."""
    routed: int = 0
    unreadable: pa.Table | None = None
    """Rows that are none, already with their number and rule ids."""
    updates: Callable[["Intake"], Iterable[Update]] = lambda _intake: ()
    """What the chunk says about the catalogue and about users."""
    cleaned: dict[str, int] = field(default_factory=dict)
    """What was respelt or filled in, and how often."""
    unread: dict[str, Any] = field(default_factory=dict)
    """What could not be read, as `models.ingest.tabular.unreadable_cells.unreadable_profile` has it."""
    places: table_files.Places | None = None
    """Where the rows are in a file that is not split into lines beforehand."""

    @property
    def read(self) -> int:
        """Rows that this chunk came to."""
        return len(self.events) + self.routed + (len(self.unreadable) if self.unreadable is not None else 0)


@dataclass(frozen=True)
class ClassifiedChunk:
    """A chunk's events as the rules see them, and which of them are not for the rules."""

    events: pa.Table
    suppressed: row_triage.Mask
    elsewhere: row_triage.Mask
    """Rows on things that nobody shops for."""
    outside: row_triage.Mask
    """Rows that did not occur in the window that is asked for."""
    known: row_triage.Mask
    """Which users of the chunk are known from before."""

    @property
    def routed(self) -> row_triage.Mask:
        """Rows that are understood, and no event for the lake."""
        return self.elsewhere | self.outside

    def sample(self, size: int) -> pa.Table:
        """Some of the rows that the rules are for."""
        return row_triage.systematic_sample(self.events, size, ~(self.suppressed | self.routed))


@dataclass(frozen=True)
class PreparedChunk:
    """What Postgres keeps of a chunk, before it is stored."""

    batch: ledger.Batch
    chunk: int
    accepted: pa.Table
    """The accepted events, as the lake keeps them."""
    repeated: pa.Table
    introduced: pa.Table
    """`user_id` and `user_key` of everybody whom it names first, with its batch."""
    said: Sequence[Update]
    waiting: Sequence[pa.Table]
    """Rows that broke a rule, and lines that are none."""
    counts: ledger.Counts
    profile: profile.Profile

    def entry(self, new: int) -> ledger.ChunkEntry:
        """Return the line of the ledger, once it is known how many rows are `new` in quarantine."""
        again = sum(map(len, self.waiting)) - new
        counts = self.counts | {"quarantined": new, "duplicate": self.counts["duplicate"] + again}
        return ledger.ChunkEntry(self.batch.batch_id, self.chunk, counts, counts | self.profile)


@dataclass
class Intake:
    """A batch on its way in: what the installation knows, and what this run has stored already."""

    installation: Installation
    mapping: SourceMapping
    batch: ledger.Batch
    catalogue: pa.Array
    routed: pa.Array
    suppressed: pa.Array
    doubted: set[str]
    """Who has refused at some time, of the users met so far: only of them it matters when they agreed."""
    now: datetime
    late_before: datetime
    known: KnownIds
    rules: tuple[RowRule, ...]
    confirm: Callable[[], None] = lambda: None
    """Raises when another run may be at the lake by now."""
    refused: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    agreed: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Users met so far, by what they had answered before this batch."""
    met: HashSet = field(default_factory=HashSet)
    introduced: HashSet = field(default_factory=HashSet)
    waiting: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """What rows of the source that wait in quarantine are about."""
    acquainted: bool = False
    """Whether users are known from before this batch."""
    named: set[tuple[str, str]] = field(default_factory=set)
    """Items that batches of this run have stated as seen."""

    def look(self, part: Part) -> ClassifiedChunk:
        """The events with what the rules look at; the chunk's own items are known from here on."""
        self.meet(part)
        new = part.named.filter(pc.invert(pc.is_in(part.named, value_set=self.catalogue)))
        self.catalogue = pa.concat_arrays([self.catalogue, new])
        known = None if self.mapping.accepts_unknown_items else self.catalogue
        events = row_triage.annotate(part.events, known, self.now.timestamp())
        elsewhere = pc.is_in(events[columns.ITEM_ID], value_set=self.routed)
        early = _before(events, self.mapping.start)
        late = pc.invert(_before(events, self.mapping.end, otherwise=True))
        outside = _mask(early) | _mask(late)
        return ClassifiedChunk(events, self._unwelcome(part), _mask(elsewhere), outside, self._known(part.names))

    def meet(self, part: Part) -> None:
        """Look up what the users of a chunk have answered: those alone that no chunk before it names."""
        tables = [part.names, *([part.identified] if part.identified is not None else [])]
        names = pa.concat_tables([rows.select([columns.USER_KEY, KEY_HASH]) for rows in tables])
        hashed = names[KEY_HASH].to_numpy()
        unmet = ~self.met.holds(hashed)
        self.met.add(np.unique(hashed[unmet]))
        with self.installation.engine.connect() as connection:
            found = consent.answers_of(connection, names[columns.USER_KEY].filter(pa.array(unmet)), self.batch.batch_id)
        self.refused = pa.concat_arrays([self.refused, found.refused])
        self.agreed = pa.concat_arrays([self.agreed, found.agreed])
        self.doubted.update(found.refused.to_pylist())
        self.introduced.add(hashed[_mask(pc.is_in(names[columns.USER_KEY], value_set=found.introduced))])

    def _known(self, names: pa.Table) -> row_triage.Mask:
        answered = pa.concat_arrays([self.agreed, self.refused, self.suppressed])
        return _mask(pc.is_in(names[columns.USER_KEY], value_set=answered))

    def _unwelcome(self, part: Part) -> row_triage.Mask:
        """Which events are dropped: of who is suppressed, and of who did not agree, by the source's policy."""
        keys, codes = part.names[columns.USER_KEY], part.events[row_triage.USER_CODE].to_numpy()
        refused = pc.invert(part.events[columns.CONSENT])

        def theirs(people: Any) -> row_triage.Mask:
            """The events of these people; nobody, who has the code -1, is none of them."""
            found: row_triage.Mask = np.append(_mask(people), False)[codes]
            return found

        gone = theirs(pc.is_in(keys, value_set=self.suppressed))
        if not refused.null_count:
            return gone | _mask(refused)
        if self.mapping.consent == "opt-in":
            unasked = theirs(pc.invert(pc.is_in(keys, value_set=self.agreed)))
        else:
            unasked = theirs(pc.is_in(keys, value_set=self.refused))
        return gone | np.where(_mask(pc.is_valid(refused)), _mask(refused), unasked)

    def take(self, part: Part, looked: ClassifiedChunk, chunk: int) -> None:
        """Store one chunk: first what Postgres keeps, in one transaction, then the events, once."""
        done = row_triage.triage_events(looked.events, self.rules, looked.suppressed, looked.routed, self.known)
        kept = self.describe(part, looked, done, chunk)
        self.confirm()
        with self.installation.engine.begin() as connection:
            self.record(connection, [kept])
        self.append(kept.accepted, chunk)
        self.known.add(done.accepted[ID_HASH].to_numpy())

    def describe(
        self, part: Part, looked: ClassifiedChunk, done: row_triage.TriagedEvents, chunk: int
    ) -> PreparedChunk:
        """Return what Postgres keeps of a chunk, for `record`: whom and what it names is known from here on."""
        waiting = row_triage.placed(done.quarantined, part.places) if part.places else done.quarantined
        bad = [waiting, *([part.unreadable] if part.unreadable is not None else [])]
        accepted = self.for_lake(done.accepted)
        found = {**profile.of_events(part.events), **profile.of_quarantined(*bad), "cleaned": part.cleaned}
        found |= ({"unread": part.unread} if part.unread else {}) | (part.places.notes if part.places else {})
        found |= {**profile.time_span(accepted), LATE: int(pc.sum(accepted[LATE]).as_py() or 0)}
        found |= self._people(looked)
        welcome = _welcome(len(part.names), looked, done)
        names, identified = part.names.take(pa.array(welcome)), self._identified(part, part.names.schema)
        aside = part.names.take(pa.array(welcome[~_named(len(part.names), done.accepted)[welcome]]))
        said = [*part.updates(self), *self.newly_seen(done.accepted, done.repeated), *_persons(aside, *identified)]
        counts = done.counts | {"read": part.read, "routed": done.counts["routed"] + part.routed}
        new = self._new(pa.concat_tables([names, *identified]))
        return PreparedChunk(self.batch, chunk, accepted, self.for_lake(done.repeated), new, said, bad, counts, found)

    def _people(self, looked: ClassifiedChunk) -> dict[str, Any]:
        """Count who is known of a table's users, if anybody was before; devices in calls are new all the time."""
        if not (self.acquainted and isinstance(self.mapping, Mapping)):
            return {}
        dropped = looked.suppressed if self.mapping.consent == "opt-in" else np.zeros(len(looked.suppressed), bool)
        return {user_remarks.PEOPLE: unknown_users.counted(looked.known, looked.events, dropped)}

    def record(self, connection: Connection, chunks: Sequence[PreparedChunk]) -> list[profile.Profile]:
        """Store what Postgres keeps of chunks, of one batch each and in their order; returns their profiles."""
        places = [(kept.batch.batch_id, kept.chunk) for kept in chunks]
        self._introduce(connection, pa.concat_tables([kept.introduced for kept in chunks]))
        updates.stage_chunks(connection, dict(zip(places, (kept.said for kept in chunks), strict=True)))
        store_repeats(connection, dict(zip(places, (kept.repeated for kept in chunks), strict=True)))
        bad = dict(zip(places, (kept.waiting for kept in chunks), strict=True))
        new = store_waiting(connection, chunks[0].batch.source, bad)
        keys = [kept.accepted[columns.EVENT_ID] for kept in chunks]
        mark_resolved(connection, [kept.batch for kept in chunks], keys, self.waiting)
        entries = [kept.entry(new.get(kept.batch.batch_id, 0)) for kept in chunks]
        ledger.record_chunks(connection, entries)
        return [entry.profile for entry in entries]

    def recall(self, part: Part) -> None:
        """Know what a chunk says that an earlier run has stored: what comes after depends on it."""
        for _said in part.updates(self):
            pass

    def append(self, accepted: pa.Table, chunk: int) -> None:
        """Bring events into the lake, once, and only while nobody else may."""
        self.confirm()
        self.installation.lake.append_events(accepted, self.batch.batch_id, chunk)

    def _identified(self, part: Part, schema: pa.Schema) -> list[pa.Table]:
        """Who is welcome for what they tell of themselves; under opt-in only who agrees to it by the same call."""
        rows = part.identified
        if rows is None:
            return []
        silent = self.mapping.consent != "opt-in"
        asked = pc.fill_null(rows[columns.CONSENT], pa.scalar(silent))
        unwelcome = pc.and_(pc.is_null(rows[columns.CONSENT]), pc.is_in(rows[columns.USER_KEY], value_set=self.refused))
        gone = pc.or_(unwelcome, pc.is_in(rows[columns.USER_KEY], value_set=self.suppressed))
        return [rows.filter(pc.and_(asked, pc.invert(gone))).select(schema.names)]

    def _new(self, names: pa.Table) -> pa.Table:
        """Return who is named for the first time by this run."""
        hashed = names[KEY_HASH].to_numpy()
        unknown = ~self.introduced.holds(hashed)
        self.introduced.add(np.unique(hashed[unknown]))
        new = names.filter(pa.array(unknown)).select([columns.USER_ID, columns.USER_KEY])
        return new.append_column(columns.BATCH_ID, pa.repeat(self.batch.batch_id, len(new)))

    def _introduce(self, connection: Connection, new: pa.Table) -> None:
        """Make sure that everybody who is welcome is known; what is known of them already stays as it is."""
        if not len(new):
            return
        declared = {
            columns.USER_KEY: new[columns.USER_KEY],
            columns.ATTRIBUTES: pa.repeat("{}", len(new)),
            columns.CONSENT: pa.repeat(True, len(new)),
            "consent_source": pa.repeat(self.mapping.consent_note, len(new)),
            columns.BATCH_ID: new[columns.BATCH_ID],
        }
        remember(connection, new, key_version(self.installation.key))
        insert_new(connection, users, pa.table(declared))

    def newly_seen(self, *accepted: pa.Table) -> list[Update]:
        """Return the items that these events name, if unknown ones are taken: known or not, each once a batch."""
        if not self.mapping.accepts_unknown_items:
            return []
        seen = pc.unique(
            pa.chunked_array([chunk for rows in accepted for chunk in rows[columns.ITEM_ID].chunks], pa.string())
        )
        new = seen.filter(pc.invert(pc.is_in(seen, value_set=self.catalogue)))
        self.catalogue = pa.concat_arrays([self.catalogue, new])
        named = {(self.batch.batch_id, item) for item in seen.to_pylist() if item != columns.WHOLE_ORDER} - self.named
        self.named |= named
        return [Update(ITEM_SEEN, item, {}, None) for _, item in sorted(named)]

    def for_lake(self, accepted: pa.Table) -> pa.Table:
        """The accepted events as the lake keeps them, with where they come from."""
        unstored = {*row_triage.HELPERS, *MARKS}
        rows = accepted.drop_columns([name for name in accepted.column_names if name in unstored])
        # Where nothing else is said, it was known when it happened: a file of last year is no news of today.
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


def _welcome(size: int, looked: ClassifiedChunk, done: row_triage.TriagedRows) -> NDArray[np.int64]:
    """Codes (below `size`) of who is somebody: whose events came in, may by a replay, or were on no merchandise."""
    waiting = zip(
        done.quarantined[row_triage.USER_CODE].to_pylist(), done.quarantined[row_triage.RULES].to_pylist(), strict=True
    )
    elsewhere = looked.elsewhere & ~looked.outside & ~looked.suppressed
    welcome = _named(size, done.accepted)
    welcome[looked.events[row_triage.USER_CODE].to_numpy()[elsewhere]] = True
    welcome[[code for code, rules in waiting if not _NOBODY & set(rules)]] = True
    return np.flatnonzero(welcome[:-1])


def _named(size: int, events: pa.Table) -> row_triage.Mask:
    """Which of the codes below `size` events name; the last place is for nobody, who has the code -1."""
    found = np.zeros(size + 1, bool)
    found[events[row_triage.USER_CODE].to_numpy()] = True
    return found


def _persons(*names: pa.Table) -> list[Update]:
    """Return who is introduced by rows that do not reach the lake."""
    keys = {key for rows in names for key in rows[columns.USER_KEY].to_pylist()}
    return [Update(PERSON, key, {}, None) for key in sorted(keys)]


def _before(events: pa.Table, moment: datetime | None, *, otherwise: bool = False) -> Any:
    """Which events occurred before a moment; where either is not known it is `otherwise`."""
    occurred = events[columns.OCCURRED_AT]
    if moment is None:
        return pa.repeat(otherwise, len(events))
    return pc.fill_null(pc.less(occurred, pa.scalar(moment, occurred.type)), otherwise)


def _mask(flags: Any) -> row_triage.Mask:
    found: row_triage.Mask = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return found


def forget(connection: Connection, batch_id: str) -> None:
    """Take out again whom a refused batch has introduced; a refusal that an undo has kept stays."""
    theirs = (users.c.batch_id == batch_id, users.c.refused_at.is_(None))
    connection.execute(delete(identities).where(identities.c.user_key.in_(select(users.c.user_key).where(*theirs))))
    connection.execute(delete(users).where(*theirs))
    keep_waiting(connection, batch_id)

"""Classifies the chunks of a batch of events: which are suppressed, routed, quarantined, duplicates or accepted.

That depends on the reference data at the start of the batch, and on what its run has met since.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Select, select

from expectations.batches import event_rules
from expectations.rules import RowRule
from infra.database.bulk_copy import read_table
from infra.database.engine import database_now
from infra.database.schema.offers import unconfirmed
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.credentials import DEVICE
from infra.keys.identity import pseudonyms
from models import columns
from models.ingest import placeholder_ids
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import Answers, Update, answers_of
from tasks.ingest.rows.quarantine import quarantined_subjects
from tasks.ingest.rows.variants import no_variants, read_variants, with_variants
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import KEY_HASH, HashSet, KnownIds, prepare_events
from tasks.quality.chunk_profile import Counts
from tasks.sources.mapping_files import part_of
from tasks.sources.table_files import RowNumbering


def no_texts() -> pa.Array:
    """Return an array without texts. Arrow imports pandas with the first array, so none is made before a run."""
    return pa.array([], pa.string())


@dataclass(frozen=True)
class BatchContext:
    """A batch that is being ingested, with the reference data at its start. It never changes."""

    installation: Installation
    mapping: SourceMapping
    batch: ledger.Batch
    catalogue: pa.Array
    non_merchandise: pa.Array
    suppressed: pa.Array
    now: datetime
    late_before: datetime
    rules: tuple[RowRule, ...]
    variants: pa.Table = field(default_factory=no_variants)
    """The variants of items; the catalogue has their ids, too."""
    unconfirmed: pa.Array = field(default_factory=no_texts)
    """The items of the catalogue that only pages have named."""
    quarantined_subjects: pa.Array = field(default_factory=no_texts)
    """The events, items or users of the source's rows in quarantine."""
    has_earlier_users: bool = False
    """Whether earlier batches brought users."""
    confirm: Callable[[], None] = lambda: None
    """Raises an error if another run may write to the lake by now."""


@dataclass
class RunState:
    """The users, items and events that the run of a batch has met so far."""

    read_answers: Callable[[pa.ChunkedArray], Answers]
    """Returns the answers about consent of users, from before this batch."""
    event_ids: KnownIds
    refused_before: set[str] = field(default_factory=set)
    """Users who ever refused: only theirs is the time of an agreement relevant."""
    refused: pa.Array = field(default_factory=no_texts)
    agreed: pa.Array = field(default_factory=no_texts)
    """Users by their answers before this batch."""
    unanswered: pa.Array = field(default_factory=no_texts)
    """Those of `refused` who never answered."""
    erased_at: dict[str, datetime] = field(default_factory=dict)
    """When the earlier data of users were erased, by user: they must not come back."""
    new_items: pa.Array = field(default_factory=no_texts)
    """The items that chunks have added to the catalogue."""
    stated_items: set[tuple[str, str]] = field(default_factory=set)
    """Items that batches of this run have stated as seen."""
    _users: HashSet = field(default_factory=HashSet)
    _introduced: HashSet = field(default_factory=HashSet)
    """Users whose raw ids are stored."""

    def meet(self, *tables: pa.Table) -> None:
        """Read the answers of the users whom no earlier chunk names."""
        users = pa.concat_tables([rows.select([columns.USER_KEY, KEY_HASH]) for rows in tables])
        hashed = users[KEY_HASH].to_numpy()
        new = ~self._users.contains(hashed)
        self._users.add(hashed[new])
        answers = self.read_answers(users[columns.USER_KEY].filter(pa.array(new)))
        self.refused = pa.concat_arrays([self.refused, answers.refused])
        self.agreed = pa.concat_arrays([self.agreed, answers.agreed])
        self.unanswered = pa.concat_arrays([self.unanswered, answers.unanswered])
        self.refused_before.update(answers.refused.to_pylist())
        self.erased_at.update(answers.erased_at)
        introduced = pc.is_in(users[columns.USER_KEY], value_set=answers.introduced)
        self._introduced.add(hashed[introduced.to_numpy()])

    def introduce(self, users: pa.Table) -> pa.Table:
        """Return the users whom this run names for the first time: their raw ids are stored from here on."""
        hashed = users[KEY_HASH].to_numpy()
        unknown = ~self._introduced.contains(hashed)
        self._introduced.add(hashed[unknown])
        return users.filter(pa.array(unknown)).select([columns.USER_ID, columns.USER_KEY])


@dataclass(frozen=True)
class EventChunk:
    """One chunk of a batch: its prepared events, and its other rows."""

    events: pa.Table
    """As `prepare_events` returns them."""
    users: pa.Table
    """`user_id` and `user_key` of all users of the events."""
    trait_users: pa.Table | None = None
    """The users who state traits, with their `consent` to that."""
    catalogue_items: pa.Array = field(default_factory=no_texts)
    """Items that the chunk itself adds to the catalogue."""
    routed: int = 0
    unreadable: pa.Table | None = None
    """Unreadable rows, with their numbers and rule ids."""
    updates: Callable[[BatchContext, RunState], Iterable[Update]] = lambda _context, _run: ()
    """The chunk's statements about the catalogue and about users. Some count only for users who refused or agreed."""
    cleaned: Counts = field(default_factory=dict)
    """Values that were respelled or filled in, by kind."""
    unread: JsonObject = field(default_factory=dict)
    """Unreadable cells, as `models.ingest.tabular.unreadable_cells` describes them."""
    numbering: RowNumbering | None = None
    """How the file numbers its rows, unless it is a file of lines."""

    @property
    def read(self) -> int:
        """The number of rows in this chunk."""
        return len(self.events) + self.routed + (len(self.unreadable) if self.unreadable is not None else 0)


def rules_of(mapping: SourceMapping, key: bytes) -> tuple[RowRule, ...]:
    """Return the row rules of a source. They compare pseudonyms, so placeholder ids become pseudonyms, too."""
    ids = pa.array(mapping.placeholders, pa.string())
    placeholders = [*pseudonyms(ids, key).to_pylist(), *pseudonyms(ids, key, DEVICE).to_pylist()]
    required = mapping.events.required if isinstance(mapping, Mapping) and mapping.events else ()
    return event_rules(placeholders, placeholder_ids.ITEMS, mapping.limits, required)


def open_context(
    installation: Installation, mapping: SourceMapping, batch: ledger.Batch, confirm: Callable[[], None] = lambda: None
) -> tuple[BatchContext, RunState]:
    """Return the context of a batch with the current catalogue and suppressions, and the ids of the lake's events."""

    def answers(keys: pa.ChunkedArray) -> Answers:
        with installation.engine.connect() as connection:
            return answers_of(connection, keys, batch.batch_id)

    with installation.engine.begin() as connection:

        def keys(statement: Select[tuple[str]]) -> pa.Array:
            return read_table(connection, statement, {"key": pa.string()})["key"].combine_chunks()

        catalogue = keys(select(items.c.item_id))
        variants = read_variants(connection, catalogue)
        earlier = select(users.c.user_key).where(users.c.batch_id != batch.batch_id)
        context = BatchContext(
            installation,
            mapping,
            batch,
            catalogue=with_variants(catalogue, variants),
            variants=variants,
            unconfirmed=keys(select(items.c.item_id).where(unconfirmed())),
            non_merchandise=with_variants(keys(select(items.c.item_id).where(items.c.available.is_(False))), variants),
            suppressed=keys(select(suppressions.c.user_key)),
            now=database_now(connection),
            late_before=ledger.late_before(connection, batch),
            has_earlier_users=bool(connection.execute(select(earlier.exists())).scalar()),
            quarantined_subjects=quarantined_subjects(connection, batch),
            rules=rules_of(mapping, installation.key),
            confirm=confirm,
        )
        refused_before = {key for key, _ in apply.refusals(connection, batch.batch_id)}
    return context, RunState(answers, KnownIds(installation.lake), refused_before)


Positions = NDArray[np.int64]


@dataclass(frozen=True)
class ClassifiedChunk:
    """A chunk's events with the columns that rules need, and the events that the rules do not concern."""

    events: pa.Table
    suppressed: row_triage.Mask
    non_merchandise: row_triage.Mask
    outside_window: row_triage.Mask
    """Events that occurred outside the requested time window."""
    known_users: row_triage.Mask
    """Which users of the chunk are known from earlier batches."""
    unanswered_users: row_triage.Mask
    """Which users of the chunk never answered about consent."""

    @property
    def routed(self) -> row_triage.Mask:
        """Rows that are understood and not stored as events."""
        return self.non_merchandise | self.outside_window

    def sample(self, size: int) -> pa.Table:
        """Return a sample of the rows that the rules concern."""
        return row_triage.systematic_sample(self.events, size, ~(self.suppressed | self.routed))


def classify(context: BatchContext, run: RunState, chunk: EventChunk) -> ClassifiedChunk:
    """Add the columns that rules need, and find the events that they do not concern.

    The chunk's own items and users are known from here on.
    """
    run.meet(chunk.users, *([chunk.trait_users] if chunk.trait_users is not None else []))
    known = None
    if not context.mapping.accepts_unknown_items:
        new = chunk.catalogue_items.filter(pc.invert(pc.is_in(chunk.catalogue_items, value_set=run.new_items)))
        run.new_items = pa.concat_arrays([run.new_items, new])
        known = pa.concat_arrays([context.catalogue, run.new_items])
    events = row_triage.annotate(chunk.events, known, context.now.timestamp())
    non_merchandise = pc.is_in(events[columns.ITEM_ID], value_set=context.non_merchandise)
    early = before(events, context.mapping.start)
    late = pc.invert(before(events, context.mapping.end, otherwise=True))
    keys = chunk.users[columns.USER_KEY]
    answered = pa.concat_arrays([run.agreed, run.refused, context.suppressed])
    known_users = _mask(pc.is_in(keys, value_set=answered))
    return ClassifiedChunk(
        events,
        suppressed=_suppressed_events(context, run, chunk),
        non_merchandise=_mask(non_merchandise),
        outside_window=_mask(early) | _mask(late),
        known_users=known_users,
        unanswered_users=~known_users | _mask(pc.is_in(keys, value_set=run.unanswered)),
    )


def _suppressed_events(context: BatchContext, run: RunState, chunk: EventChunk) -> row_triage.Mask:
    """Return the events of suppressed users, and of users without consent by the source's policy."""
    keys, codes = chunk.users[columns.USER_KEY], chunk.events[row_triage.USER_CODE].to_numpy()
    refused = pc.invert(chunk.events[columns.CONSENT])

    def events_of(users: pa.ChunkedArray) -> row_triage.Mask:
        """Return the events of these users; code -1 stands for no user."""
        mask: row_triage.Mask = np.append(_mask(users), False)[codes]
        return mask

    suppressed = events_of(pc.is_in(keys, value_set=context.suppressed))
    # A page without a signature cannot agree in place of a user who refused.
    is_claim = _mask(pc.equal(chunk.events[columns.AUTHORITY], columns.CLAIM))
    suppressed |= is_claim & events_of(pc.is_in(keys, value_set=run.refused))
    if run.erased_at:
        suppressed |= _erased_events(run, keys, codes, chunk.events[columns.OCCURRED_AT])
    if not refused.null_count:
        return suppressed | _mask(refused)
    if context.mapping.consent == "opt-in":
        without_consent = events_of(pc.invert(pc.is_in(keys, value_set=run.agreed)))
    else:
        without_consent = events_of(pc.is_in(keys, value_set=run.refused))
    return suppressed | np.where(_mask(pc.is_valid(refused)), _mask(refused), without_consent)


def _erased_events(
    run: RunState, keys: pa.ChunkedArray, codes: Positions, occurred: pa.ChunkedArray
) -> row_triage.Mask:
    """Return the events from before their users were erased, whatever they state about consent."""
    never = np.iinfo(np.int64).min
    times = pa.array([run.erased_at.get(key) for key in keys.to_pylist()], occurred.type)
    ends = np.append(pc.fill_null(times.cast(pa.int64()), never), never)  # code -1 stands for no user
    early: row_triage.Mask = pc.fill_null(occurred.cast(pa.int64()), never + 1).to_numpy() <= ends[codes]
    return early


def triage(context: BatchContext, run: RunState, classified: ClassifiedChunk) -> row_triage.TriagedEvents:
    """Return which events are accepted, quarantined, duplicates or suppressed."""
    return row_triage.triage_events(
        classified.events, context.rules, classified.suppressed, classified.routed, run.event_ids
    )


@dataclass(frozen=True)
class JoinedChunks:
    """The chunks of several files, whose events are prepared as one chunk."""

    chunks: Sequence[EventChunk]
    """With events that are numbered but not prepared."""
    whole: EventChunk
    numbers: Positions
    """The number of each event in its file."""
    ends: Positions
    """[chunks + 1] the first event of each chunk in the whole, and the number of all events."""


def join(chunks: Sequence[EventChunk], mapping: Mapping, key: bytes) -> JoinedChunks:
    """Prepare the events of chunks at once, which are only numbered."""
    ends = np.cumsum([0, *(len(chunk.events) for chunk in chunks)])
    rows = pa.concat_tables([chunk.events for chunk in chunks])
    numbers, stated = rows[columns.ROW].to_numpy(), rows.drop_columns([columns.ROW])
    identified = part_of(mapping, "events").event_id is not None
    whole = EventChunk(*prepare_events(stated, mapping, key, np.arange(len(rows)), identified=identified))
    return JoinedChunks(chunks, whole, numbers, ends)


def triage_together(
    context: BatchContext, run: RunState, joined: JoinedChunks
) -> Iterator[tuple[EventChunk, ClassifiedChunk, row_triage.TriagedEvents]]:
    """Yield each of the chunks prepared, classified and triaged, as if one came after the other.

    Many small chunks cost no more than a large one, because they go through all steps as one. Of rows with the same
    event id the first in their order counts.
    """
    merged, numbers, ends = joined.whole, joined.numbers, joined.ends
    whole = classify(context, run, merged)
    triaged = triage(context, run, whole)
    tables = {"accepted": triaged.accepted, "quarantined": triaged.quarantined, "repeated": triaged.repeated}
    by_chunk = {name: _by_chunk(table, ends) for name, table in tables.items()}
    codes = merged.events[row_triage.USER_CODE].to_numpy()
    for place, (start, end) in enumerate(pairwise(ends)):
        distinct = np.unique(codes[start:end])
        users = distinct[distinct >= 0]
        own = {name: _as_in_chunk(parts[place], numbers, users) for name, parts in by_chunk.items()}
        events = _as_in_chunk(whole.events.slice(start, end - start), numbers, users)
        chunk = replace(
            joined.chunks[place],
            events=events.select(merged.events.column_names),
            users=merged.users.take(pa.array(users)),
        )
        classified = ClassifiedChunk(
            events,
            suppressed=whole.suppressed[start:end],
            non_merchandise=whole.non_merchandise[start:end],
            outside_window=whole.outside_window[start:end],
            known_users=whole.known_users[users],
            unanswered_users=whole.unanswered_users[users],
        )
        counts = row_triage.counted(classified.suppressed, classified.routed, **own)
        yield chunk, classified, row_triage.TriagedEvents(**own, counts=counts)


def _by_chunk(rows: pa.Table, ends: Positions) -> list[pa.Table]:
    """Return the rows of each chunk, in their order."""
    owner = np.searchsorted(ends, rows[columns.ROW].to_numpy(), side="right") - 1
    if np.any(owner[1:] < owner[:-1]):
        order = np.argsort(owner, kind="stable")
        rows, owner = rows.take(pa.array(order)), owner[order]
    cuts = np.searchsorted(owner, np.arange(len(ends)))
    return [rows.slice(start, end - start) for start, end in pairwise(cuts)]


def _as_in_chunk(rows: pa.Table, numbers: Positions, users: Positions) -> pa.Table:
    """Return rows of one chunk with their numbers in it, and with user codes as positions among its `users`."""
    codes = rows[row_triage.USER_CODE].to_numpy()
    own = {row_triage.USER_CODE: np.where(codes < 0, -1, np.searchsorted(users, codes))}
    own[columns.ROW] = numbers[rows[columns.ROW].to_numpy()]
    for name, values in own.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))
    return rows


def before(events: pa.Table, moment: datetime | None, *, otherwise: bool = False) -> pa.ChunkedArray:
    """Return which events occurred before a moment; `otherwise` if either time is unknown."""
    occurred = events[columns.OCCURRED_AT]
    if moment is None:
        return pa.repeat(otherwise, len(events))
    return pc.fill_null(pc.less(occurred, pa.scalar(moment, occurred.type)), otherwise)


def _mask(flags: pa.ChunkedArray) -> row_triage.Mask:
    mask: row_triage.Mask = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return mask

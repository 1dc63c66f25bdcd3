"""Classifies the events of chunks: which are suppressed, routed, quarantined, duplicates or accepted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models import columns
from tasks.ingest.events.batch_context import BatchContext, EventChunk, RunState
from tasks.ingest.validation import row_triage


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
    if not refused.null_count:
        return suppressed | _mask(refused)
    if context.mapping.consent == "opt-in":
        without_consent = events_of(pc.invert(pc.is_in(keys, value_set=run.agreed)))
    else:
        without_consent = events_of(pc.is_in(keys, value_set=run.refused))
    return suppressed | np.where(_mask(pc.is_valid(refused)), _mask(refused), without_consent)


def triage(context: BatchContext, run: RunState, classified: ClassifiedChunk) -> row_triage.TriagedEvents:
    """Return which events are accepted, quarantined, duplicates or suppressed."""
    return row_triage.triage_events(
        classified.events, context.rules, classified.suppressed, classified.routed, run.event_ids
    )


def triage_together(
    context: BatchContext, run: RunState, chunks: Sequence[EventChunk]
) -> Iterator[tuple[ClassifiedChunk, row_triage.TriagedEvents]]:
    """Yield the classified and triaged rows of each chunk of a table, as if one came after the other.

    They are classified as one, because small ones cost as much as large ones. Of rows with the same event id the first
    in their order counts.
    """
    rows = np.cumsum([0, *((pc.max(chunk.events[columns.ROW]).as_py() or 0) + 1 for chunk in chunks)])
    users = np.cumsum([0, *(len(chunk.users) for chunk in chunks)])
    events = [_shifted(chunk.events, *shift) for chunk, *shift in zip(chunks, rows, users, strict=False)]
    merged = EventChunk(pa.concat_tables(events), pa.concat_tables([chunk.users for chunk in chunks]))
    whole = classify(context, run, merged)
    triaged = triage(context, run, whole)
    tables = {"accepted": triaged.accepted, "quarantined": triaged.quarantined, "repeated": triaged.repeated}
    by_chunk = {name: _by_chunk(table, rows) for name, table in tables.items()}
    ends = np.cumsum([0, *map(len, events)])
    for place, ((start, end), (first, last)) in enumerate(zip(pairwise(ends), pairwise(users), strict=True)):
        shift = -rows[place], -users[place]
        own = {name: _shifted(parts[place], *shift) for name, parts in by_chunk.items()}
        classified = ClassifiedChunk(
            _shifted(whole.events.slice(start, end - start), *shift),
            suppressed=whole.suppressed[start:end],
            non_merchandise=whole.non_merchandise[start:end],
            outside_window=whole.outside_window[start:end],
            known_users=whole.known_users[first:last],
            unanswered_users=whole.unanswered_users[first:last],
        )
        counts = row_triage.counted(classified.suppressed, classified.routed, **own)
        yield classified, row_triage.TriagedEvents(**own, counts=counts)


def _by_chunk(rows: pa.Table, first: NDArray[np.int64]) -> list[pa.Table]:
    """Return the rows of each chunk, in their order; `first` are the numbers with which the chunks begin."""
    owner = np.searchsorted(first, rows[columns.ROW].to_numpy(), side="right") - 1
    if np.any(owner[1:] < owner[:-1]):
        order = np.argsort(owner, kind="stable")
        rows, owner = rows.take(pa.array(order)), owner[order]
    cuts = np.searchsorted(owner, np.arange(len(first)))
    return [rows.slice(start, end - start) for start, end in pairwise(cuts)]


def _shifted(rows: pa.Table, number: int, user: int) -> pa.Table:
    """Return rows with other numbers and user codes; code -1 stands for no user."""
    codes = rows[row_triage.USER_CODE].to_numpy()
    shifted = {columns.ROW: rows[columns.ROW].to_numpy() + number}
    shifted[row_triage.USER_CODE] = np.where(codes < 0, -1, codes + user)
    for name, values in shifted.items():
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

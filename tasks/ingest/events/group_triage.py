"""Classifies the rows of several files together, with the same result as one file after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import columns
from models.ingest.source_config import SourceMapping
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.events.event_chunk import ClassifiedChunk, EventChunk
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_enrichment import prepare_events

Positions = NDArray[np.int64]


def numbered(
    rows: pa.Table, _mapping: SourceMapping, _key: bytes, numbers: Positions, *, identified: bool = True
) -> tuple[pa.Table, pa.Table]:
    """Return events with their numbers, in place of `prepare_events`: `triage` prepares all files together."""
    del identified
    return rows.append_column(columns.ROW, pa.array(numbers)), pa.table({})


def triage(
    intake: Intake, chunks: Sequence[EventChunk], *, identified: bool
) -> Iterator[tuple[EventChunk, ClassifiedChunk, row_triage.TriagedEvents]]:
    """Yield for each file of `numbered` events its prepared and classified chunk, and its triaged rows.

    Of rows with the same event id the first in order of the files counts.
    """
    bounds = np.cumsum([0, *(len(chunk.events) for chunk in chunks)])
    rows = pa.concat_tables([chunk.events for chunk in chunks])
    numbers, positions = rows[columns.ROW].to_numpy(), np.arange(len(rows))
    unnumbered = rows.drop_columns([columns.ROW])
    key = intake.installation.key
    merged = EventChunk(*prepare_events(unnumbered, intake.mapping, key, positions, identified=identified))
    classified = intake.classify(merged)
    triaged = intake.triage(classified)
    tables = {"accepted": triaged.accepted, "quarantined": triaged.quarantined, "repeated": triaged.repeated}
    by_file = {name: _by_file(table, bounds) for name, table in tables.items()}
    codes = merged.events[row_triage.USER_CODE].to_numpy()
    for place, (start, end) in enumerate(pairwise(bounds)):
        distinct = np.unique(codes[start:end])
        users = distinct[distinct >= 0]
        own = {name: _as_in_file(files[place], numbers, users) for name, files in by_file.items()}
        rows = _as_in_file(classified.events.slice(start, end - start), numbers, users)
        events, names = rows.select(merged.events.column_names), merged.users.take(pa.array(users))
        one = replace(
            classified,
            events=rows,
            suppressed=classified.suppressed[start:end],
            non_merchandise=classified.non_merchandise[start:end],
            outside_window=classified.outside_window[start:end],
            known_users=classified.known_users[users],
            unanswered_users=classified.unanswered_users[users],
        )
        counts = row_triage.counted(one.suppressed, one.routed, **own)
        chunk = replace(chunks[place], events=events, users=names, updates=lambda _: ())
        yield chunk, one, row_triage.TriagedEvents(**own, counts=counts)


def _by_file(rows: pa.Table, bounds: Positions) -> list[pa.Table]:
    """Return the rows of each file, in their order."""
    owner = np.searchsorted(bounds, rows[columns.ROW].to_numpy(), side="right") - 1
    if np.any(owner[1:] < owner[:-1]):
        order = np.argsort(owner, kind="stable")
        rows, owner = rows.take(pa.array(order)), owner[order]
    cuts = np.searchsorted(owner, np.arange(len(bounds)))
    return [rows.slice(start, end - start) for start, end in pairwise(cuts)]


def _as_in_file(rows: pa.Table, numbers: Positions, users: Positions) -> pa.Table:
    """Return rows of one file with their numbers in it, and with user codes as positions among its `users`."""
    codes = rows[row_triage.USER_CODE].to_numpy()
    rows = _with(rows, row_triage.USER_CODE, np.where(codes < 0, -1, np.searchsorted(users, codes)))
    return _with(rows, columns.ROW, numbers[rows[columns.ROW].to_numpy()])


def _with(rows: pa.Table, name: str, values: Positions) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))

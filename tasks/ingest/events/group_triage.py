"""Sorts the rows of several files at once, with the result that sorting one file after the other would have."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import columns
from models.ingest.source_config import SourceMapping
from tasks.ingest.events.chunk_writer import ClassifiedChunk, Intake, Part
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_enrichment import prepared

Places = NDArray[np.int64]


def numbered(
    rows: pa.Table, _mapping: SourceMapping, _key: bytes, numbers: Places, *, identified: bool = True
) -> tuple[pa.Table, pa.Table]:
    """Return shaped events with their numbers alone, in place of `prepared`: `triage` prepares all files at once."""
    del identified
    return rows.append_column(columns.ROW, pa.array(numbers)), pa.table({})


def triage(
    intake: Intake, parts: Sequence[Part], *, identified: bool
) -> Iterator[tuple[Part, ClassifiedChunk, row_triage.TriagedEvents]]:
    """Yield for each file of `numbered` events: the prepared file, how the rules see it, and where its rows go.

    Of rows with one event id the first counts, in order of the files.
    """
    bounds = np.cumsum([0, *(len(part.events) for part in parts)])
    rows = pa.concat_tables([part.events for part in parts])
    numbers, places = rows[columns.ROW].to_numpy(), np.arange(len(rows))
    shaped = rows.drop_columns([columns.ROW])
    whole = Part(*prepared(shaped, intake.mapping, intake.installation.key, places, identified=identified))
    looked = intake.look(whole)
    done = row_triage.triage_events(looked.events, intake.rules, looked.suppressed, looked.routed, intake.known)
    tables = {"accepted": done.accepted, "quarantined": done.quarantined, "repeated": done.repeated}
    pieces = {name: _by_file(table, bounds) for name, table in tables.items()}
    codes = whole.events[row_triage.USER_CODE].to_numpy()
    for place, (start, end) in enumerate(pairwise(bounds)):
        named = np.unique(codes[start:end])
        people = named[named >= 0]
        own = {name: _as_in_file(found[place], numbers, people) for name, found in pieces.items()}
        rows = _as_in_file(looked.events.slice(start, end - start), numbers, people)
        events, names = rows.select(whole.events.column_names), whole.names.take(pa.array(people))
        part = replace(parts[place], events=events, names=names, updates=lambda _: ())
        seen = replace(
            looked,
            events=rows,
            suppressed=looked.suppressed[start:end],
            elsewhere=looked.elsewhere[start:end],
            outside=looked.outside[start:end],
            known=looked.known[people],
        )
        yield (
            part,
            seen,
            row_triage.TriagedEvents(**own, counts=row_triage.counted(seen.suppressed, seen.routed, **own)),
        )


def _by_file(rows: pa.Table, bounds: Places) -> list[pa.Table]:
    """Return the rows of each file, in their order."""
    owner = np.searchsorted(bounds, rows[columns.ROW].to_numpy(), side="right") - 1
    if np.any(owner[1:] < owner[:-1]):
        order = np.argsort(owner, kind="stable")
        rows, owner = rows.take(pa.array(order)), owner[order]
    cuts = np.searchsorted(owner, np.arange(len(bounds)))
    return [rows.slice(start, end - start) for start, end in pairwise(cuts)]


def _as_in_file(rows: pa.Table, numbers: Places, people: Places) -> pa.Table:
    """Return rows of one file with their numbers in it, and with users by their place among its `people`."""
    codes = rows[row_triage.USER_CODE].to_numpy()
    rows = _with(rows, row_triage.USER_CODE, np.where(codes < 0, -1, np.searchsorted(people, codes)))
    return _with(rows, columns.ROW, numbers[rows[columns.ROW].to_numpy()])


def _with(rows: pa.Table, name: str, values: Places) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))

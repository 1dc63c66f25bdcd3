"""Sorts the rows of several files at once, with the result that sorting one file after the other would have."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import sift
from tasks.intake import Intake, Looked, Part

Places = NDArray[np.int64]


def triage(intake: Intake, parts: Sequence[Part]) -> Iterator[tuple[Looked, sift.Sifted]]:
    """Yield for each file how the rules see its events, and where each of its rows goes.

    Of rows with one event id the first counts, in order of the files.
    """
    starts = np.cumsum([0, *(len(part.events) for part in parts)])
    people = np.cumsum([0, *(len(part.names) for part in parts)])
    looked = intake.look(_joined(parts, people))
    done = sift.sift(looked.events, intake.rules, looked.suppressed, looked.routed, intake.known)
    numbers = np.concatenate([part.events[sift.ROW].to_numpy() for part in parts])
    tables = {f.name: getattr(done, f.name) for f in fields(done) if isinstance(getattr(done, f.name), pa.Table)}
    pieces = {name: _by_file(rows, starts, people, numbers) for name, rows in tables.items()}
    for place, events in enumerate(_by_file(looked.events, starts, people, numbers)):
        rows = slice(starts[place], starts[place + 1])
        seen = replace(
            looked,
            events=events,
            suppressed=looked.suppressed[rows],
            elsewhere=looked.elsewhere[rows],
            outside=looked.outside[rows],
        )
        own = {name: tables[place] for name, tables in pieces.items()}
        yield seen, sift.Sifted(**own, counts=_counts(seen, own["accepted"], own["quarantined"]))


def _joined(parts: Sequence[Part], people: Places) -> Part:
    """Return all files as one chunk: rows are numbered through, and users stand in one list."""
    tables = []
    for part, first in zip(parts, people[:-1], strict=True):
        codes = part.events[sift.USER_CODE].to_numpy()
        tables.append(_with(part.events, sift.USER_CODE, np.where(codes < 0, codes, codes + first)))
    events = pa.concat_tables(tables)
    events = _with(events, sift.ROW, np.arange(len(events)))
    return Part(events, pa.concat_tables([part.names for part in parts]))


def _by_file(rows: pa.Table, starts: Places, people: Places, numbers: Places) -> list[pa.Table]:
    """Return each file's rows in their order, with their numbers and users as in the file."""
    places = rows[sift.ROW].to_numpy()
    owner = np.searchsorted(starts, places, side="right") - 1
    codes = rows[sift.USER_CODE].to_numpy()
    rows = _with(rows, sift.ROW, numbers[places])
    rows = _with(rows, sift.USER_CODE, np.where(codes < 0, codes, codes - people[owner]))
    order = np.argsort(owner, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        rows = rows.take(pa.array(order))
    bounds = np.searchsorted(owner[order], np.arange(len(starts)))
    return [rows.slice(start, end - start) for start, end in pairwise(bounds)]


def _with(rows: pa.Table, name: str, values: Places) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))


def _counts(looked: Looked, accepted: pa.Table, quarantined: pa.Table) -> dict[str, int]:
    counts = {
        "suppressed": int(looked.suppressed.sum()),
        "routed": int((looked.routed & ~looked.suppressed).sum()),
        "quarantined": len(quarantined),
        "accepted": len(accepted),
    }
    read = len(looked.events)
    return {"read": read, **counts, "duplicate": read - sum(counts.values())}

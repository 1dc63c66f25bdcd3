"""Reads a file of items or users chunk by chunk, in memory that grows with what is different in it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from expectations.rules import RowRule, flags
from models import columns
from models.ingest.normalisation import Cleaned, Counts
from models.ingest.tabular import attribute_statements, transform
from models.ingest.tabular.unreadable_cells import UnreadableCells, merge_unreadable
from tasks.ingest.reference.row_triage import condensed
from tasks.ingest.validation import batch_profile as profile
from tasks.ingest.validation import row_triage
from tasks.sources import table_files
from tasks.sources.misfit_lines import MOST_SHARE, MisfitLine


class Read(NamedTuple):
    """The items or users of a file."""

    rows: pa.Table
    """Condensed, with their numbers in the file."""
    sample: pa.Table
    """Some of all rows, for the suite."""
    profile: profile.Profile
    cleaned: Counts
    skipped: int
    """Rows of the file that are none by the `where` of the mapping."""
    unread: list[UnreadableCells]
    """What could not be read."""
    places: table_files.Places
    """Where the rows are in the file."""
    stated: pa.Table
    """What the rows state since when, if the mapping names the time (see `attribute_statements`)."""
    misfits: Sequence[MisfitLine]
    """Lines that do not fit the header."""

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the counts of the rows with the file's other rows: those left out, and lines that do not fit."""
        added = {"read": self.skipped + len(self.misfits), "routed": self.skipped, "quarantined": len(self.misfits)}
        return {name: count + added.get(name, 0) for name, count in counts.items()}


class _Kept:
    """The rows of the chunks so far, condensed again whenever they have doubled."""

    def __init__(self, condense: Callable[[pa.Table], pa.Table]) -> None:
        """Start with no rows."""
        self._condense, self._size = condense, 0
        self._tables: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Keep what is different in the rows of a chunk."""
        self._tables.append(self._condense(rows))
        if sum(map(len, self._tables)) > 2 * self._size + table_files.CHUNK_ROWS:
            self._tables = [self.all()]
            self._size = len(self._tables[0])

    def all(self) -> pa.Table:
        """Return what is different in all rows."""
        return self._condense(pa.concat_tables(self._tables))


def read_reference(
    path: Path, part: Any, shape: Callable[[pa.Table], Cleaned], rules: Sequence[RowRule], most: int | None = None
) -> Read:
    """Return what a file, or its `most` first rows, holds; `shape` makes items or users of a chunk of its rows."""
    csv = table_files.csv_of(part)
    total, skipped = most or table_files.row_count(path, csv, transform.kinds(part), MOST_SHARE), 0
    kept, stated, names = (
        _Kept(partial(condensed, rules=rules)),
        _Kept(attribute_statements.changes),
        attribute_statements.dated(part),
    )
    stated.add(attribute_statements.SCHEMA.empty_table())
    samples, profiles, cleaned, unread = [], [], [], []
    misfits: list[MisfitLine] = []
    places = table_files.places(path, csv)
    chunks = table_files.chunks(path, transform.needed(part), most or table_files.CHUNK_ROWS, csv)
    for chunk in islice(chunks, 1 if most else None):
        selected = transform.selected(chunk.rows, part)
        shaped = shape(chunk.rows.filter(selected))
        numbers = chunk.numbers[np.flatnonzero(selected)]
        misfits.extend(chunk.misfits)
        rows = shaped.rows.append_column(columns.ROW, pa.array(numbers, pa.int64()))
        unread.append(places.noted(shaped.unread, rows, numbers))
        skipped += len(chunk.rows) - len(rows)
        samples.append(
            row_triage.systematic_sample(rows, max(1, row_triage.SAMPLE_ROWS * len(chunk.rows) // max(total, 1)))
        )
        profiles.append(profile.of_events(rows))
        cleaned.append(shaped.counts)
        if names:
            sound = rows.filter(pa.array(~row_triage.unsound(flags(rows, rules))))
            stated.add(attribute_statements.statements(sound, names, sound[columns.ROW]))
        kept.add(rows)
    told = {"events": sum(one["events"] for one in profiles), "nulls": profile.total(one["nulls"] for one in profiles)}
    sample = row_triage.systematic_sample(pa.concat_tables(samples), row_triage.SAMPLE_ROWS)
    counts, cells = profile.total(cleaned), merge_unreadable(unread)
    return Read(kept.all(), sample, told, counts, skipped, cells, places, stated.all(), misfits)

"""Reads a file of items or users chunk by chunk; memory grows with the number of different rows."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from expectations.rules import RowRule, flags
from models import columns
from models.ingest.normalisation import Cleaned, Counts
from models.ingest.tabular import attribute_statements, transform
from models.ingest.tabular.config import UsersMapping
from models.ingest.tabular.unreadable_cells import UnreadableCells, merge_unreadable
from models.ingest.traffic.traffic_filter import USER_ID_TOO_LONG, too_long
from tasks.ingest.reference.row_triage import condense
from tasks.ingest.validation import batch_profile, row_triage
from tasks.ingest.validation.event_enrichment import pseudonymise
from tasks.quality import chunk_profile
from tasks.quality.chunk_profile import ChunkProfile, with_counts
from tasks.sources import table_files
from tasks.sources.misfit_lines import MOST_SHARE, MisfitLine


class ReferenceRows(NamedTuple):
    """The rows of a file of items or users."""

    rows: pa.Table
    """Condensed, with their numbers in the file."""
    sample: pa.Table
    """A sample of all rows, for the suite."""
    profile: ChunkProfile
    cleaned: Counts
    skipped: int
    """Rows of the file that the `where` of the mapping leaves out."""
    unread: list[UnreadableCells]
    """The cells that cannot be read."""
    numbering: table_files.RowNumbering
    """How the file numbers its rows."""
    stated: pa.Table
    """Values with the times from which they count, if the mapping names one (see `attribute_statements`)."""
    misfits: Sequence[MisfitLine]
    """Lines that do not fit the header."""

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the counts with the file's other rows: those left out, and lines that do not fit the header."""
        added = {"read": self.skipped + len(self.misfits), "routed": self.skipped, "quarantined": len(self.misfits)}
        return {name: count + added.get(name, 0) for name, count in counts.items()}


class _CondensedRows:
    """The rows of the chunks so far, condensed whenever they have doubled."""

    def __init__(self, condense: Callable[[pa.Table], pa.Table]) -> None:
        """Start with no rows."""
        self._condense, self._size = condense, 0
        self._tables: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Add the different rows of a chunk."""
        self._tables.append(self._condense(rows))
        if sum(map(len, self._tables)) > 2 * self._size + table_files.CHUNK_ROWS:
            self._tables = [self.all()]
            self._size = len(self._tables[0])

    def all(self) -> pa.Table:
        """Return the different rows of all chunks."""
        return self._condense(pa.concat_tables(self._tables))


def read_reference(
    path: Path,
    part: transform.Part,
    shape: Callable[[pa.Table], Cleaned],
    rules: Sequence[RowRule],
    most: int | None = None,
) -> ReferenceRows:
    """Return the rows of a file, or its `most` first ones; `shape` makes items or users of a chunk."""
    csv = table_files.csv_of(part)
    total, skipped = most or table_files.row_count(path, csv, transform.kinds(part), MOST_SHARE), 0
    weekly = "recent" in getattr(part, "choices", {}).values()
    merged = _CondensedRows(partial(condense, rules=rules, weekly=weekly))
    stated = _CondensedRows(attribute_statements.changes)
    names = attribute_statements.dated(part)
    stated.add(attribute_statements.SCHEMA.empty_table())
    samples, profiles, cleaned, unread = [], [], [], []
    misfits: list[MisfitLine] = []
    numbering = table_files.row_numbering(path, csv)
    chunks = table_files.chunks(path, transform.needed(part), most or table_files.CHUNK_ROWS, csv)
    for chunk in islice(chunks, 1 if most else None):
        selected = transform.selected(chunk.rows, part)
        shaped = shape(chunk.rows.filter(selected))
        numbers = chunk.numbers[np.flatnonzero(selected)]
        misfits.extend(chunk.misfits)
        rows = shaped.rows.append_column(columns.ROW, pa.array(numbers, pa.int64()))
        unread.append(numbering.describe_unreadable(shaped.unread, rows, numbers))
        skipped += len(chunk.rows) - len(rows)
        samples.append(
            row_triage.systematic_sample(rows, max(1, row_triage.SAMPLE_ROWS * len(chunk.rows) // max(total, 1)))
        )
        profiles.append(batch_profile.of_events(rows))
        cleaned.append(shaped.counts)
        if names:
            good = rows.filter(pa.array(~row_triage.breaks_rule(flags(rows, rules))))
            stated.add(attribute_statements.statements(good, names, good[columns.ROW]))
        merged.add(rows)
    nulls = batch_profile.total(one["nulls"] for one in profiles)
    profile = ChunkProfile(events=sum(one["events"] for one in profiles), nulls=nulls)
    sample = row_triage.systematic_sample(pa.concat_tables(samples), row_triage.SAMPLE_ROWS)
    counts, cells = batch_profile.total(cleaned), merge_unreadable(unread)
    return ReferenceRows(merged.all(), sample, profile, counts, skipped, cells, numbering, stated.all(), misfits)


def reference_profile(
    read: ReferenceRows, counts: chunk_profile.Counts, quarantined: Sequence[pa.Table]
) -> ChunkProfile:
    """Return the profile of a file of items or users, with its counts."""
    rules = batch_profile.of_quarantined(*quarantined)
    return with_counts({**read.profile, **rules, "cleaned": read.cleaned}, counts)


def keyed_users(rows: pa.Table, part: UsersMapping, key: bytes) -> tuple[Cleaned, pa.Table]:
    """Return the users of a chunk of rows by pseudonym, and the raw ids with their pseudonyms."""
    users = transform.users(rows, part)
    shaped = users.rows
    shaped = shaped.append_column(USER_ID_TOO_LONG, too_long(shaped[columns.USER_ID]))
    keyed, names = pseudonymise(shaped, key)
    return users._replace(rows=keyed), names

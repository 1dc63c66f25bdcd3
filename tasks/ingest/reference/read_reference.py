"""Reads a file of items or users, and classifies its rows; memory grows with the number of different rows."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.rules import RowRule, flags
from models import columns
from models.columns import ROW
from models.ingest.source_config import USER_ID_TOO_LONG, Counts, too_long
from models.ingest.tabular import duplicate_rows, transform
from models.ingest.tabular.duplicate_rows import COPIES, FIRST_ROW, UPDATED_AT, WEEK, Choice, chosen
from models.ingest.tabular.table_mapping import UsersMapping
from models.ingest.tabular.transform import Cleaned
from models.ingest.tabular.unreadable_cells import CELLS, UnreadableCells, merge_unreadable
from models.primitives.arrow_sql import query
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import pseudonymise
from tasks.ingest.validation.row_triage import USER_CODE, TriagedRows, breaks_rule, quarantined_rows
from tasks.quality import chunk_profile
from tasks.quality.chunk_profile import ChunkProfile, with_counts
from tasks.sources import table_files
from tasks.sources.csv_reader import MOST_SHARE, MisfitLine

_IGNORED = (ROW, FIRST_ROW, COPIES, UPDATED_AT)
"""Columns in which equal rows may differ."""


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
    """Values with the times from which they count, if the mapping names one (see `duplicate_rows`)."""
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
    stated = _CondensedRows(duplicate_rows.changes)
    names = part.dated
    stated.add(duplicate_rows.SCHEMA.empty_table())
    samples, profiles, cleaned, unread = [], [], [], []
    misfits: list[MisfitLine] = []
    numbering = table_files.row_numbering(path, csv)
    chunks = table_files.chunks(path, part.read, most or table_files.CHUNK_ROWS, csv)
    for chunk in islice(chunks, 1 if most else None):
        selected = transform.selected(chunk.rows, part)
        shaped = shape(chunk.rows.filter(selected))
        numbers = chunk.numbers[np.flatnonzero(selected)]
        misfits.extend(chunk.misfits)
        rows = shaped.rows.append_column(ROW, pa.array(numbers, pa.int64()))
        unread.append(numbering.describe_unreadable(shaped.unread, rows, numbers))
        skipped += len(chunk.rows) - len(rows)
        samples.append(
            row_triage.systematic_sample(rows, max(1, row_triage.SAMPLE_ROWS * len(chunk.rows) // max(total, 1)))
        )
        profiles.append(row_triage.of_events(rows))
        cleaned.append(shaped.counts)
        if names:
            good = rows.filter(pa.array(~row_triage.breaks_rule(flags(rows, rules))))
            stated.add(duplicate_rows.statements(good, names, good[ROW]))
        merged.add(rows)
    nulls = row_triage.total(one["nulls"] for one in profiles)
    profile = ChunkProfile(events=sum(one["events"] for one in profiles), nulls=nulls)
    if numbering.encoding:
        profile["encoding"] = numbering.encoding
    sample = row_triage.systematic_sample(pa.concat_tables(samples), row_triage.SAMPLE_ROWS)
    counts, cells = row_triage.total(cleaned), merge_unreadable(unread)
    return ReferenceRows(merged.all(), sample, profile, counts, skipped, cells, numbering, stated.all(), misfits)


def reference_profile(
    read: ReferenceRows, counts: chunk_profile.Counts, quarantined: Sequence[pa.Table]
) -> ChunkProfile:
    """Return the profile of a file of items or users, with its counts."""
    rules = row_triage.of_quarantined(*quarantined)
    return with_counts({**read.profile, **rules, "cleaned": read.cleaned}, counts)


def keyed_users(rows: pa.Table, part: UsersMapping, key: bytes) -> tuple[Cleaned, pa.Table]:
    """Return the users of a chunk of rows by pseudonym, and the raw ids with their pseudonyms."""
    users = transform.users(rows, part)
    marked = users.rows.append_column(USER_ID_TOO_LONG, too_long(users.rows[columns.USER_ID]))
    keyed, names = pseudonymise(marked, key)
    return users._replace(rows=keyed), names


def condense(rows: pa.Table, rules: Sequence[RowRule], *, weekly: bool = False) -> pa.Table:
    """Return numbered rows with equal good rows merged into the last one, with their `copies` and latest time.

    Rows that break a rule stay as they are; with `weekly`, so do equal rows of different weeks.
    """
    if USER_CODE in rows.column_names:  # differs between chunks
        rows = rows.drop_columns([USER_CODE])
    if COPIES not in rows.column_names:
        rows = rows.append_column(COPIES, pa.array([1] * len(rows), pa.int64())).append_column(FIRST_ROW, rows[ROW])
    bad = pa.array(breaks_rule(flags(rows, rules)))
    good = _without_cells(rows.filter(pc.invert(bad)))
    # DuckDB has no structure without fields.
    plain = [name for name in good.column_names if name != columns.ATTRIBUTES or good.field(name).type.num_fields]
    same = ", ".join(f'"{name}"' for name in plain if name not in _IGNORED)
    latest = f", max({UPDATED_AT}) AS {UPDATED_AT}" if UPDATED_AT in plain else ""
    alike = f"{same}, {WEEK.format(UPDATED_AT)}" if weekly else same
    merged = query(
        f"SELECT {same}, max({ROW}) AS {ROW}, min({FIRST_ROW}) AS {FIRST_ROW}, sum({COPIES})::BIGINT AS {COPIES}"
        f"{latest} FROM good GROUP BY {alike}",
        good=good.select(plain),
    )
    for name in good.column_names:
        if name not in plain:
            merged = merged.append_column(name, pa.array([{}] * len(merged), good.field(name).type))
    return pa.concat_tables([rows.filter(bad), merged.select(rows.column_names).cast(rows.schema)]).sort_by(ROW)


def _without_cells(rows: pa.Table) -> pa.Table:
    """Drop the unreadable cells of good rows: equal rows of two chunks would differ in their suggestions."""
    if CELLS not in rows.column_names:
        return rows
    return rows.set_column(rows.column_names.index(CELLS), CELLS, pa.nulls(len(rows), rows.field(CELLS).type))


def triage_reference(
    rows: pa.Table,
    rules: Sequence[RowRule],
    suppressed: pa.Array,
    key: str,
    choices: Mapping[str, Choice] = MappingProxyType({}),
) -> TriagedRows:
    """Classify condensed rows: those that break a rule, and one row for each `key` of the others.

    That is the last one, with the values that `choices` select by column. It is `accepted` for the caller to store, and
    counted as routed, because it updates the catalogue or the users.
    """
    eligible = rows.filter(pc.invert(pc.is_in(rows[key], value_set=suppressed)))
    violations = flags(eligible, rules)
    bad = breaks_rule(violations)
    candidates, quarantined = eligible.filter(pa.array(~bad)), quarantined_rows(eligible, violations, bad)
    accepted = chosen(candidates, key, choices)
    counts = {
        "read": _copies(rows),
        "suppressed": _copies(rows) - _copies(eligible),
        "routed": len(accepted),
        "quarantined": len(quarantined),
        "duplicate": _copies(candidates) - len(accepted),
        "accepted": 0,
    }
    helpers = [FIRST_ROW, COPIES]
    return TriagedRows(accepted.drop_columns([ROW, *helpers]), quarantined.drop_columns(helpers), counts)


def _copies(rows: pa.Table) -> int:
    return pc.sum(rows[COPIES]).as_py() or 0

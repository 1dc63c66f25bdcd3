"""Reads a file of items or users chunk by chunk, in memory that grows with what is different in it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from expectations.rules import RowRule
from models.shapes import tabular
from models.shapes.cleaning import Cleaned, Counts
from tasks import profile, sift
from tasks.ingest_batch import SAMPLE_ROWS
from tasks.sift_reference import condensed
from tasks.sources import files


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


def read_reference(path: Path, part: Any, shape: Callable[[pa.Table], Cleaned], rules: Sequence[RowRule]) -> Read:
    """Return what a file holds; `shape` makes items or users of a chunk of its rows."""
    csv = files.csv_of(part)
    total, first, skipped = files.row_count(path, csv, tabular.kinds(part)), 0, 0
    kept, size = [], 0
    samples, profiles, cleaned = [], [], []
    for chunk in files.chunks(path, tabular.needed(part), files.CHUNK_ROWS, csv):
        selected = tabular.selected(chunk, part)
        shaped = shape(chunk.filter(selected))
        rows = shaped.rows.append_column(sift.ROW, pa.array(first + np.flatnonzero(selected), pa.int64()))
        first, skipped = first + len(chunk), skipped + len(chunk) - len(rows)
        samples.append(sift.spread(rows, max(1, SAMPLE_ROWS * len(chunk) // max(total, 1))))
        profiles.append(profile.of_events(rows))
        cleaned.append(shaped.counts)
        kept.append(condensed(rows, rules))
        if sum(map(len, kept)) > 2 * size + files.CHUNK_ROWS:
            kept = [condensed(pa.concat_tables(kept), rules)]
            size = len(kept[0])
    told = {"events": sum(one["events"] for one in profiles), "nulls": profile.total(one["nulls"] for one in profiles)}
    sample = sift.spread(pa.concat_tables(samples), SAMPLE_ROWS)
    return Read(condensed(pa.concat_tables(kept), rules), sample, told, profile.total(cleaned), skipped)

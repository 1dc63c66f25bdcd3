"""Reads Parquet, CSV and JSON files in chunks."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.ingest import text_files
from models.ingest.tabular.mapping_keys import FillDown
from models.ingest.tabular.unreadable_cells import Kind, UnreadableCells, unreadable_profile
from models.ingest.tabular.values import is_number, is_text
from models.primitives.json_types import JsonObject
from tasks.sources import csv_reader, json_tables
from tasks.sources.csv_reader import PLAIN, Csv, MisfitLine, MisfitQueue, is_csv
from tasks.sources.csv_reader import csv_of as csv_of
from tasks.sources.file_faults import described, refuse_no_parquet
from tasks.sources.json_tables import is_json

CHUNK_ROWS = 250_000
_PLAIN_TYPES: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


class RowNumbering(NamedTuple):
    """How a file numbers its rows for people."""

    unit: str
    """`line` as an editor shows it, or `row` for a file without lines."""
    numbers: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    """Returns the numbers of rows that are counted from 0."""
    encoding: str | None = None
    """The encoding of the file, unless it is the one that the mapping states."""

    def describe_unreadable(
        self, cells: Sequence[UnreadableCells], rows: pa.Table, positions: NDArray[np.int64]
    ) -> JsonObject:
        """Return unreadable cells as the profile of a chunk stores them; `positions` of the rows count from 0."""
        return unreadable_profile(cells, rows, pa.array(self.numbers(positions)), self.unit) if cells else {}


BY_ROW: Final = RowNumbering("row", partial(np.add, 1))


def row_numbering(path: Path, csv: Csv) -> RowNumbering:
    """Return how a file numbers its rows, and its encoding if that is not the one that its mapping states."""
    if not is_csv(path):
        return BY_ROW
    name = csv_reader.encoding_of(path, csv)
    encoding = None if name == csv.encoding else text_files.NAMES.get(name, name)
    return RowNumbering("line", partial(csv_reader.lines, path, csv), encoding)


def hint(path: Path, csv: Csv, required: Collection[str]) -> str:
    """Return a sentence on a separator that fits a file better than its mapping's, or on the line of its header."""
    if not is_csv(path):
        return ""
    found = csv_reader.title_hint(path, csv).capitalize() or csv_reader.separator_hint(path, csv, required)
    return f"{found}." if found else ""


def _unreadable(path: Path, error: Exception) -> TailorbirdError:
    return TailorbirdError(f"{path} cannot be read: {described(error)}. Nothing was stored.")


def _metadata(path: Path) -> pq.FileMetaData:
    refuse_no_parquet(path)
    try:
        metadata = pq.read_metadata(path)
        csv_reader.refuse_many_columns(path, len(metadata.schema.to_arrow_schema()))
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None
    return metadata


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_nested(kind):
        return "nested"
    if is_text(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_null(kind):  # pandas writes a column without values like this
        return "untyped"
    return "number" if is_number(kind) else "any"


def column_kinds(path: Path, csv: Csv = PLAIN) -> Mapping[str, Kind]:
    """Return the columns of the file with the kinds of their values."""
    if is_csv(path):
        return dict.fromkeys(csv_reader.header(path, csv), "untyped")
    if is_json(path):
        names = json_tables.table(path, csv.unnest).rows.column_names
        csv_reader.refuse_many_columns(path, len(names))
        return dict.fromkeys(names, "untyped")
    return {field.name: _kind(field.type) for field in _metadata(path).schema.to_arrow_schema()}


def row_count(path: Path, csv: Csv = PLAIN, columns: Collection[str] | None = None, tolerated: float = 0.0) -> int:
    """Return the number of rows. Parquet states it; a CSV file is read to its end, and faults raise TailorbirdError.

    In CSV only rows that fit the header count, in JSON only objects; the share of other lines may be as large as
    `tolerated`.
    """
    if is_csv(path):
        return csv_reader.row_count(path, csv, columns, tolerated)
    if is_json(path):
        return json_tables.row_count(path, csv.unnest, tolerated)
    return int(_metadata(path).num_rows)


def _batches(path: Path, columns: Sequence[str], size: int, csv: Csv, misfits: MisfitQueue) -> Iterator[pa.RecordBatch]:
    if is_csv(path):
        yield from csv_reader.batches(path, csv, columns, misfits)
        return
    if is_json(path):
        read = json_tables.table(path, csv.unnest)
        misfits.lines.extend(read.misfits)
        yield from read.rows.select(list(columns)).to_batches(size)
        return
    try:
        # Not with a dataset, which reads ahead: memory would grow with the file.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            for batch in file.iter_batches(size, columns=list(columns)):
                batch.validate(full=True)  # only this finds text that is not UTF-8
                yield _without_views(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return views of texts and bytes as plain ones, because Arrow filters no views."""
    fields = [field.with_type(_PLAIN_TYPES.get(field.type, field.type)) for field in batch.schema]
    return batch if [field.type for field in fields] == batch.schema.types else batch.cast(pa.schema(fields))


class Chunk(NamedTuple):
    """Consecutive rows of a file."""

    rows: pa.Table
    numbers: NDArray[np.int64]
    """The position of each row in the file, from 0."""
    misfits: Sequence[MisfitLine] = ()
    """Lines around these rows that do not fit the header."""

    def head(self, size: int) -> "Chunk":
        """Return the first rows, and the misfit lines above the last of them."""
        if len(self.rows) <= size:
            return self
        rows, numbers = self.rows.slice(0, size), self.numbers[:size]
        return Chunk(rows, numbers, [line for line in self.misfits if line.number < numbers[-1]])


def chunks(path: Path, columns: Sequence[str], size: int | None = None, csv: Csv = PLAIN) -> Iterator[Chunk]:
    """Yield the rows of a file in order, `size` (CHUNK_ROWS) at a time: the same file always gives the same chunks.

    A column that the file lacks has nulls; the contract decides whether it may be missing.
    """
    present, size = column_kinds(path, csv), size or CHUNK_ROWS
    known = [name for name in columns if name in present]
    completed = _RowAbove(csv.fill_down).fill if csv.fill_down and csv.fill_down.within in known else _unchanged
    misfits = MisfitQueue()
    pending: list[pa.RecordBatch] = []
    waiting = first = skipped = 0
    for batch in _batches(path, known, size, csv, misfits):
        while batch.num_rows:
            # Not earlier: the last chunk also has the misfit lines at the end of the file.
            if waiting == size:
                lines = misfits.take(first + size, skipped)
                yield _numbered(completed(_completed(pending, columns)), first, skipped, lines)
                first, skipped, waiting, pending = first + size, skipped + len(lines), 0, []
            part = batch.slice(0, size - waiting)
            batch = batch.slice(part.num_rows)
            pending.append(part)
            waiting += part.num_rows
    if pending:
        yield _numbered(completed(_completed(pending, columns)), first, skipped, misfits.take(None, skipped))


def _unchanged(rows: pa.Table) -> pa.Table:
    return rows


class _RowAbove:
    """The last row of the chunks so far, which fills the empty cells of the rows below it."""

    def __init__(self, keys: FillDown) -> None:
        """Start above the first row."""
        self._keys = keys
        self._last: list[pa.Table] = []

    def fill(self, rows: pa.Table) -> pa.Table:
        """Return the rows with their empty cells filled within each key; an empty key is that of the row above."""
        both = pa.concat_tables([*self._last, rows]).combine_chunks()
        both = self._filled(both, self._keys.within, np.zeros(len(both), np.int64))
        keys = both[self._keys.within].to_numpy()
        start = np.maximum.accumulate(np.where(np.r_[True, keys[1:] != keys[:-1]], np.arange(len(keys)), 0))
        for name in [name for name in self._keys.columns if name in both.column_names]:
            both = self._filled(both, name, start)
        self._last = [both.slice(len(both) - 1)]
        return both.slice(len(both) - len(rows))

    @staticmethod
    def _filled(rows: pa.Table, name: str, start: NDArray[np.int64]) -> pa.Table:
        """Return rows whose empty cells of a column have the value above, at most up to the row `start`."""
        places = np.arange(len(rows))
        text = pc.fill_null(pc.utf8_trim_whitespace(rows[name].cast(pa.string())), "")
        above = np.maximum.accumulate(np.where(pc.equal(text, "").to_numpy(), -1, places))
        values = rows[name].take(pa.array(np.where(above < start, places, above)))
        return rows.set_column(rows.column_names.index(name), name, values)


def _numbered(rows: pa.Table, first: int, skipped: int, misfits: Sequence[MisfitLine]) -> Chunk:
    """Return rows with their positions, after `first` rows that fit the header and `skipped` ones that do not."""
    places = np.arange(first, first + len(rows))
    before = [line.number - skipped - place for place, line in enumerate(misfits)]
    return Chunk(rows, places + skipped + np.searchsorted(before, places, side="right"), misfits)


def _completed(batches: list[pa.RecordBatch], columns: Sequence[str]) -> pa.Table:
    rows = pa.Table.from_batches(batches).combine_chunks()
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
    return rows.select(list(columns))

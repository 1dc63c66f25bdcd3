"""Parquet and CSV files, read in bounded chunks."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from expectations.contract import Kind
from models.errors import TailorbirdError
from models.ingest.tabular.unreadable_cells import UnreadableCells, unreadable_profile
from models.ingest.text_files import encodings
from tasks.sources import csv_reader
from tasks.sources.csv_reader import MOST_COLUMNS, PLAIN, Csv, is_csv
from tasks.sources.csv_reader import csv_of as csv_of
from tasks.sources.data_file_faults import described
from tasks.sources.file_kinds import refuse_no_parquet
from tasks.sources.misfit_lines import MisfitLine, MisfitQueue

if TYPE_CHECKING:
    import pyarrow.dataset as ds

CHUNK_ROWS = 250_000
_BUFFER_BYTES = 1 << 20


class Places(NamedTuple):
    """How a file numbers its rows for people."""

    numbered: str
    """`line` as an editor shows it, or `row` where there are no lines."""
    of: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    """The numbers of rows that are counted from 0."""
    notes: dict[str, Any]
    """How the file is read, for the profile of its batch."""

    def noted(self, found: Iterable[UnreadableCells], rows: pa.Table, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """Return what the profile of a chunk keeps of unreadable cells; `numbers` are those of the rows, from 0."""
        listed = tuple(found)
        return unreadable_profile(listed, rows, pa.array(self.of(numbers)), self.numbered) if listed else {}


def _from_one(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows + 1


ROWS: Final = Places("row", _from_one, {})


def places(path: Path, csv: Csv) -> Places:
    """Where the rows of a file are, and how its characters are read unless that is as its mapping states."""
    if not is_csv(path):
        return ROWS
    name = csv_reader.encoding_of(path, csv)
    noted = {} if name == csv.encoding else {"encoding": encodings.NAMES.get(name, name)}
    return Places("line", partial(csv_reader.lines, path, csv), noted)


def hint(path: Path, csv: Csv, wanted: Collection[str]) -> str:
    """Name the separator that fits a file better than the one of its mapping, or the line of its header."""
    if not is_csv(path):
        return ""
    if title := csv_reader.title_hint(path, csv):
        return f"{title.removeprefix('; ').capitalize()}."
    found = csv_reader.separator_of(path, csv, wanted)
    return f"{found.sentence} lines." if found else ""


def digest(path: Path) -> str:
    """SHA-256 of the file's content: the same file is the same batch, wherever it lies."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: Exception) -> TailorbirdError:
    return TailorbirdError(f"{path} cannot be read: {described(error)}. Nothing was stored.")


def _open(path: Path) -> "ds.Dataset":
    import pyarrow.dataset as ds  # it imports pandas

    refuse_no_parquet(path)
    try:
        dataset = ds.dataset(path, format="parquet")
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None
    if len(dataset.schema) > MOST_COLUMNS:
        fault = f"it has {len(dataset.schema):,} columns, and a table has {MOST_COLUMNS:,} at most"
        raise TailorbirdError(f"{path} cannot be read: {fault}. Nothing was stored.")
    return dataset


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_nested(kind):
        return "nested"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_null(kind):  # a column without a value: pandas writes it so
        return "untyped"
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
    return "number" if any(is_it(kind) for is_it in numeric) else "any"


def column_kinds(path: Path, csv: Csv = PLAIN) -> Mapping[str, Kind]:
    """Which columns the file has, and what they hold."""
    if is_csv(path):
        return dict.fromkeys(csv_reader.header(path, csv), "untyped")
    return {field.name: _kind(field.type) for field in _open(path).schema}


def row_count(path: Path, csv: Csv = PLAIN, columns: Collection[str] | None = None, tolerated: float = 0.0) -> int:
    """Return how many rows the file has. Parquet states it; CSV is read through, and its faults are named.

    Of CSV it is the rows that fit the header, of which a share may not fit that is `tolerated`.
    """
    if is_csv(path):
        return csv_reader.row_count(path, csv, columns, tolerated)
    return int(_open(path).count_rows())


def _batches(path: Path, columns: Sequence[str], size: int, csv: Csv, misfits: MisfitQueue) -> Iterator[pa.RecordBatch]:
    if is_csv(path):
        yield from csv_reader.batches(path, csv, columns, misfits)
        return
    try:
        # Not by a dataset, which reads far ahead: memory would grow with the file.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            for batch in file.iter_batches(size, columns=list(columns)):
                batch.validate(full=True)  # text that is no UTF-8 is found here, with its column, or nowhere
                yield batch
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


class Chunk(NamedTuple):
    """Rows of a file that follow each other."""

    rows: pa.Table
    numbers: NDArray[np.int64]
    """Of each row its number in the file, from 0."""
    misfits: Sequence[MisfitLine] = ()
    """Lines before, between or after these rows that do not fit the header."""

    def head(self, size: int) -> "Chunk":
        """Return the first rows, and the misfit lines above the last one of them."""
        if len(self.rows) <= size:
            return self
        kept, numbers = self.rows.slice(0, size), self.numbers[:size]
        return Chunk(kept, numbers, [line for line in self.misfits if line.number < numbers[-1]])


def chunks(path: Path, columns: Sequence[str], size: int | None = None, csv: Csv = PLAIN) -> Iterator[Chunk]:
    """Yield the rows of a file in order, `size` (CHUNK_ROWS) at a time: the same file always gives the same chunks.

    A column that the file lacks comes as nulls; that it may be lacking was decided by the contract.
    """
    there, size = column_kinds(path, csv), size or CHUNK_ROWS
    known = [name for name in columns if name in there]
    misfits = MisfitQueue()
    pending: list[pa.RecordBatch] = []
    waiting = first = skipped = 0
    for batch in _batches(path, known, size, csv, misfits):
        while batch.num_rows:
            # Not before: the last chunk also has the misfit lines at the end of the file.
            if waiting == size:
                lines = misfits.take(first + size, skipped)
                yield _numbered(_completed(pending, columns), first, skipped, lines)
                first, skipped, waiting, pending = first + size, skipped + len(lines), 0, []
            part = batch.slice(0, size - waiting)
            batch = batch.slice(part.num_rows)
            pending.append(part)
            waiting += part.num_rows
    if pending:
        yield _numbered(_completed(pending, columns), first, skipped, misfits.take(None, skipped))


def _numbered(rows: pa.Table, first: int, skipped: int, misfits: Sequence[MisfitLine]) -> Chunk:
    """Number rows with `first` rows that fit and `skipped` ones that do not before them."""
    places = np.arange(first, first + len(rows))
    before = [line.number - skipped - place for place, line in enumerate(misfits)]
    return Chunk(rows, places + skipped + np.searchsorted(before, places, side="right"), misfits)


def _completed(batches: list[pa.RecordBatch], columns: Sequence[str]) -> pa.Table:
    rows = pa.Table.from_batches(batches).combine_chunks()
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
    return rows.select(list(columns))

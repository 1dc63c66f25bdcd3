"""CSV files, plain or compressed with gzip: every row comes out as it was written, or the file is refused."""

import csv as standard
import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NoReturn, TextIO

import pyarrow as pa
import pyarrow.csv as arrow

from models.errors import TailorbirdError
from models.shapes import tabular
from tasks.sources.file_faults import described

_BLOCK_BYTES: Final = 8 << 20
"""What is parsed at once; no row may be longer."""
_ESCAPED: Final = "surrogateescape"
"""Bytes that are no UTF-8 matter only in columns that are read, and there the faster reader finds them."""
_FAULTS: Final = (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError, zlib.error, standard.Error, UnicodeError)


@dataclass(frozen=True)
class Csv:
    """What a CSV file does not say about itself."""

    separator: str = ","
    decimal: str = "."
    numbers: frozenset[str] = frozenset()
    """The columns to read as numbers. All others stay text: 007 is not 7."""


PLAIN: Final = Csv()
MOST_COLUMNS: Final = 10_000


def csv_of(part: tabular.Part) -> Csv:
    """How a mapping says that the CSV files of a part are written."""
    return Csv(part.separator, part.decimal, tabular.numeric(part))


def is_csv(path: Path) -> bool:
    """Whether a file is read as CSV; its name says so."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def header(path: Path, csv: Csv) -> list[str]:
    """The names of the columns. Raises TailorbirdError when there are none or one is there twice."""
    try:
        with text(path) as file:
            standard.field_size_limit(_BLOCK_BYTES)
            names = next(filter(None, standard.reader(file, delimiter=csv.separator, strict=True)), [])
            "".join(names).encode()
    except UnicodeEncodeError:
        _refuse(path, "its first line, which has to name the columns, is not UTF-8")
    except _FAULTS as error:
        _refuse(path, described(error))
    if not names:
        _refuse(path, "it is empty; its first line has to name the columns")
    if len(names) > MOST_COLUMNS:
        _refuse(path, f"its first line names {len(names):,} columns, and a table has {MOST_COLUMNS:,} at most")
    places = dict(zip(reversed(names), range(len(names), 0, -1), strict=True))
    for place, name in enumerate(names, 1):
        if places[name] != place:
            # Without the name: in a file without a first line of names it is a value of a row.
            _refuse(path, f"its columns {places[name]} and {place} have the same name in the first line")
    return names


def row_count(path: Path, csv: Csv, columns: Collection[str] | None = None) -> int:
    """How many rows the file has, after it was read to its end in two ways that have to agree.

    The faster reader lets a quotation mark that is never closed swallow all lines after it; the strict one finds it.
    """
    stamp = path.stat()
    return _counted(path, stamp.st_mtime_ns, stamp.st_size, csv, None if columns is None else frozenset(columns))


@lru_cache(maxsize=16)
def _counted(path: Path, _changed: int, _size: int, csv: Csv, columns: frozenset[str] | None) -> int:
    names = header(path, csv)
    strict = _strict_count(path, csv, len(names))
    read = [name for name in names if columns is None or name in columns]
    fast = sum(len(batch) for batch in batches(path, csv, read))
    if fast != strict:
        _refuse(path, f"its quotation marks can be read in two ways, as {fast} rows or as {strict}")
    return fast


def batches(path: Path, csv: Csv, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows in order. Raises TailorbirdError, with the row, at a value that cannot be read."""
    types = {name: pa.float64() if name in csv.numbers else pa.string() for name in columns}
    try:
        yield from arrow.open_csv(
            path,
            # One thread: only then does an error tell its row.
            read_options=arrow.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=arrow.ParseOptions(delimiter=csv.separator, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                column_types=types, include_columns=list(columns), decimal_point=csv.decimal
            ),
        )
    except _FAULTS as error:
        _refuse(path, described(error, header(path, csv)))


def text(path: Path) -> TextIO:
    """Open a file as text."""
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=_ESCAPED, newline="")
    return path.open(encoding="utf-8-sig", errors=_ESCAPED, newline="")


def _strict_count(path: Path, csv: Csv, width: int) -> int:
    """The rows by the strict reader. A line is told by its number; of a row over several lines it is the first."""
    count, line = 0, 1
    standard.field_size_limit(_BLOCK_BYTES)
    try:
        with text(path) as file:
            reader = standard.reader(file, delimiter=csv.separator, strict=True)
            for row in reader:
                if row and len(row) != width:
                    _refuse(path, f"line {line} has {len(row)} values, and the first line names {width} columns")
                count += bool(row)
                line = reader.line_num + 1
    except _FAULTS as error:
        _refuse(path, f"line {line}: {described(error)}")
    return count - 1


def _refuse(path: Path, fault: str) -> NoReturn:
    """Raise without the cause: a library's message quotes the value that it could not read."""
    raise TailorbirdError(f"{path} cannot be read: {fault}. Fix the file or the mapping; nothing was stored.") from None

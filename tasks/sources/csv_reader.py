"""Reads CSV files, plain or compressed with gzip: every row is read as it was written, or the file is refused.

Lines with more or fewer values than the header become misfit lines.
"""

import csv as standard
import zlib
from array import array
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple, NoReturn, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.ingest.tabular import transform
from models.ingest.tabular.mapping_keys import FillDown
from models.ingest.text_files import UTF_8, better_separator, detected, lines_above_header, marked
from tasks.sources.file_faults import described, refuse_binary
from tasks.sources.line_reader import open_bytes
from tasks.sources.locations import SEPARATED

BLOCK_BYTES: Final = 8 << 20
"""The size of a parsed block; no row may be longer."""
_FAULTS: Final = (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError, zlib.error, standard.Error, UnicodeError)


@dataclass(frozen=True)
class Csv:
    """The format of a part's files: of CSV, and of JSON for `unnest`."""

    separator: str = ","
    encoding: str | None = None
    """The encoding; None detects it."""
    skip: int = 0
    """Lines above the header."""
    fill_down: FillDown | None = None
    """Columns that only the first row of an order states."""
    unnest: str | None = None
    """The list of a JSON file whose elements are rows."""


PLAIN: Final = Csv()
_MOST_COLUMNS: Final = 10_000
_SAMPLE_SIZE: Final = 1 << 20
"""The number of characters from which a separator is guessed."""
_MARK_BYTES: Final = 4
_ARROWS: Final = {UTF_8: "utf8"}
"""Encodings that Arrow itself decodes; it uses Python's codecs for others."""
MOST_SHARE: Final = 0.5
"""If more lines do not fit, the separator or the header is wrong, whatever a mapping tolerates."""
_MOST_EXAMPLES: Final = 10
_ENOUGH: Final = 1_000
"""The number of lines after which reading may stop."""


class MisfitLine(NamedTuple):
    """A line that does not fit the header."""

    number: int
    """Its position among the rows of the file, from 0."""
    values: int
    columns: int
    """The number of names in the header."""
    text: str


@dataclass
class MisfitQueue:
    """The misfit lines that Arrow's reader skips, until the reader of the rows takes them."""

    lines: deque[MisfitLine] = field(default_factory=deque)
    count: int = 0
    above: int = 0
    """The number of lines above the header, which Arrow counts as rows."""
    stopped: bool = False
    """Whether reading stopped because most lines do not fit."""

    def skip(self, row: arrow.InvalidRow) -> Literal["skip", "error"]:
        """Store a line; returns whether Arrow continues, or stops because most lines do not fit."""
        self.count += 1
        self.lines.append(MisfitLine(row.number - self.above - 2, row.actual_columns, row.expected_columns, row.text))
        self.stopped = self.count > _ENOUGH and self.count > MOST_SHARE * (row.number - self.above - 1)
        return "error" if self.stopped else "skip"

    def take(self, before: int | None, skipped: int) -> list[MisfitLine]:
        """Remove and return the lines above fitting row `before`, or all; `skipped` were removed earlier."""
        taken: list[MisfitLine] = []
        while self.lines and (before is None or self.lines[0].number - skipped - len(taken) < before):
            taken.append(self.lines.popleft())
        return taken


@dataclass
class MisfitSummary:
    """The misfit lines of a whole file: all are counted, and a few are described."""

    columns: int
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    """Their positions among the rows of the file, from 0."""
    examples: list[str] = field(default_factory=list)

    def add(self, number: int, line: int, values: int) -> None:
        """Count a line, which an editor numbers `line`."""
        self.numbers.append(number)
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(f"line {line} has {values} value{'s' if values != 1 else ''}")

    @property
    def sentence(self) -> str:
        """Describe the lines."""
        more = len(self.numbers) - len(self.examples)
        others = f" and {more:,} more line{'s' if more > 1 else ''} with another number" if more else ""
        return f"{', '.join(self.examples)}{others}, and the first line names {self.columns} columns"


def csv_of(part: transform.Part) -> Csv:
    """Return the format of a part's CSV files, as its mapping states it."""
    return Csv(part.separator, part.encoding, part.skip_lines, part.fill_down, part.unnest)


def is_csv(path: Path) -> bool:
    """Return whether a file is read as CSV, by the end of its name: .csv, .tsv, .tab or .txt, also before .gz."""
    return path.name.lower().removesuffix(".gz").endswith((*SEPARATED, ".txt"))


def header(path: Path, csv: Csv) -> list[str]:
    """Return the names of the columns. Raises TailorbirdError if there are none or one occurs twice."""
    refuse_binary(path)
    try:
        with text(path, csv) as file:
            standard.field_size_limit(BLOCK_BYTES)
            names = next(filter(None, standard.reader(file, delimiter=csv.separator, strict=True)), [])
            "".join(names).encode()
    except UnicodeEncodeError:
        _refuse(path, f"its first line, which has to name the columns, is not {encoding_of(path, csv).upper()}")
    except _FAULTS as error:
        _refuse(path, described(error))
    if not names:
        _refuse(path, "it is empty; its first line has to name the columns")
    refuse_many_columns(path, len(names))
    places = dict(zip(reversed(names), range(len(names), 0, -1), strict=True))
    for place, name in enumerate(names, 1):
        if places[name] != place:
            # Without the name: in a file without a header it is a value of a row.
            fault = f"its columns {places[name]} and {place} have the same name in the first line"
            _refuse(path, "; ".join(filter(None, [fault, title_hint(path, csv)])))
    return names


def refuse_many_columns(path: Path, count: int) -> None:
    """Raise TailorbirdError if a file has more columns than a table may have."""
    if count > _MOST_COLUMNS:
        _refuse(path, f"it has {count:,} columns, and a table has {_MOST_COLUMNS:,} at most")


def row_count(path: Path, csv: Csv, columns: Collection[str] | None = None, tolerated: float = 0.0) -> int:
    """Return how many rows fit the header, after reading the file with two parsers that have to agree.

    The faster parser lets an unclosed quotation mark swallow all later lines; the strict one finds it. Raises
    TailorbirdError if a larger share of the lines than `tolerated`, or than half, does not fit.
    """
    stamp = path.stat()
    strict = _read_strictly(path, stamp.st_mtime_ns, stamp.st_size, csv)
    if len(strict.misfits.numbers) > min(tolerated, MOST_SHARE) * strict.rows:
        refuse_misfits(path, csv)
    return _counted(path, stamp.st_mtime_ns, stamp.st_size, csv, None if columns is None else frozenset(columns))


def lines(path: Path, csv: Csv, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lines at which rows (numbered from 0) begin, as an editor shows them: the header is on line 1.

    Earlier rows may have line breaks, and there may be empty lines.
    """
    stamp = path.stat()
    breaks = _read_strictly(path, stamp.st_mtime_ns, stamp.st_size, csv).breaks
    first, added = (np.asarray(side, np.int64) for side in breaks)
    return rows + added[np.searchsorted(first, rows, side="right") - 1] if len(first) else rows + csv.skip + 2


@lru_cache(maxsize=16)
def _counted(path: Path, changed: int, size: int, csv: Csv, columns: frozenset[str] | None) -> int:
    names = header(path, csv)
    strict = _read_strictly(path, changed, size, csv)
    read = [name for name in names if columns is None or name in columns]
    fast, misfits, queue = 0, array("q"), MisfitQueue()
    for batch in batches(path, csv, read, queue):
        fast += len(batch)
        misfits.extend(line.number for line in queue.take(None, 0))
    misfits.extend(line.number for line in queue.take(None, 0))
    if fast + len(misfits) != strict.rows or misfits != strict.misfits.numbers:
        two_ways = f"as {fast + len(misfits)} rows or as {strict.rows}"
        _refuse(path, f"its quotation marks can be read in two ways, {two_ways}")
    return fast


def batches(
    path: Path, csv: Csv, columns: Sequence[str], misfits: MisfitQueue | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that fit the header, in order; lines that do not fit go to `misfits`.

    Raises TailorbirdError with the line of an unreadable value, and if most lines do not fit.
    """
    types, misfits, rows = dict.fromkeys(columns, pa.string()), misfits or MisfitQueue(), 0
    misfits.above = csv.skip
    try:
        for batch in arrow.open_csv(
            path,
            # One thread, because only then an error has the number of its row.
            read_options=arrow.ReadOptions(
                use_threads=False,
                block_size=BLOCK_BYTES,
                encoding=_ARROWS.get(known := encoding_of(path, csv), known),
                skip_rows=csv.skip,
            ),
            parse_options=arrow.ParseOptions(
                delimiter=csv.separator, newlines_in_values=True, invalid_row_handler=misfits.skip
            ),
            convert_options=arrow.ConvertOptions(column_types=types, include_columns=list(columns)),
        ):
            rows += len(batch)
            yield batch
    except _FAULTS as error:
        if misfits.stopped:
            refuse_misfits(path, csv)
        _refuse(path, described(error, header(path, csv), partial(_line_of, path, csv)))
    if misfits.count > MOST_SHARE * (rows + misfits.count):
        refuse_misfits(path, csv)


def _line_of(path: Path, csv: Csv, record: int) -> int:
    """Return the line of a record as Arrow counts them."""
    return int(lines(path, csv, np.array([record - csv.skip - 2]))[0])


def encoding_of(path: Path, csv: Csv) -> str:
    """Return the encoding of a file: from its byte order mark, its mapping, or its bytes."""
    if csv.encoding is not None:
        return marked(beginning(path, _MARK_BYTES)) or csv.encoding
    stamp = path.stat()
    return _detected(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=64)
def _detected(path: Path, _changed: int, _size: int) -> str:
    """Return the detected encoding. An unreadable file counts as UTF-8, and reading it reports the error."""
    try:
        with open_bytes(path) as file:
            return detected(iter(partial(file.read, BLOCK_BYTES), b""))
    except _FAULTS:
        return UTF_8


def beginning(path: Path, size: int = _SAMPLE_SIZE) -> bytes:
    """Return the first bytes of a file, unpacked."""
    try:
        with open_bytes(path) as file:
            return file.read(size)
    except _FAULTS:
        return b""


def text(path: Path, csv: Csv) -> TextIO:
    """Open a file as text, at the line that names the columns."""
    # Bytes that are not UTF-8 matter only in columns that are read. The faster parser finds them there.
    known = encoding_of(path, csv)
    name, errors = ("utf-8-sig", "surrogateescape") if known == UTF_8 else (known, "strict")
    file = TextIOWrapper(open_bytes(path), encoding=name, errors=errors, newline="")
    try:
        for _ in range(csv.skip):
            file.readline(BLOCK_BYTES)
    except BaseException:
        file.close()
        raise
    return file


def first_lines(path: Path, csv: Csv, count: int) -> list[int]:
    """Return the lines on which the first rows of a file begin, as an editor numbers them."""
    starts, line = [], csv.skip + 1
    try:
        with text(path, csv) as file:
            reader = standard.reader(file, delimiter=csv.separator)
            for row in islice(reader, 2 * count + 2):
                if row:
                    starts.append(line)
                line = csv.skip + reader.line_num + 1
                if len(starts) > count:
                    break
    except _FAULTS as error:
        _refuse(path, f"line {line}: {described(error)}")
    return starts[1:]


class _Strict(NamedTuple):
    """The result of the strict parser."""

    rows: int
    """All rows, including those that do not fit the header."""
    breaks: "tuple[array[int], array[int]]"
    """The rows at which line numbers shift, and the number to add to a row's from there on."""
    misfits: MisfitSummary


@lru_cache(maxsize=16)
def _read_strictly(path: Path, _changed: int, _size: int, csv: Csv) -> _Strict:
    """Count the rows. A row over several lines has the number of its first line."""
    width = len(header(path, csv))
    count, line, offset = -1, csv.skip + 1, None
    breaks, misfits = (array("q"), array("q")), MisfitSummary(width)
    standard.field_size_limit(BLOCK_BYTES)
    try:
        with text(path, csv) as file:
            reader = standard.reader(file, delimiter=csv.separator, strict=True)
            for row in reader:
                if row:
                    if count >= 0 and line - count != offset:
                        offset = line - count
                        breaks[0].append(count)
                        breaks[1].append(offset)
                    count += 1
                    # Row 0 is the header.
                    if len(row) != width:
                        "".join(row).encode()
                        misfits.add(count - 1, line, len(row))
                line = csv.skip + reader.line_num + 1
    except _FAULTS as error:
        before = f"{misfits.sentence}; " if misfits.examples else ""
        _refuse(path, f"{before}line {line}: {described(error)}")
    return _Strict(count, breaks, misfits)


def refuse_misfits(path: Path, csv: Csv) -> NoReturn:
    """Raise TailorbirdError with the first lines that do not fit the header, and the separator that fits better."""
    stamp = path.stat()
    misfits = _read_strictly(path, stamp.st_mtime_ns, stamp.st_size, csv).misfits
    _refuse(path, "; ".join(filter(None, [misfits.sentence, separator_hint(path, csv)])))


def title_hint(path: Path, csv: Csv) -> str:
    """Return a hint on the line that seems to be the header, if there is a title above it; else an empty text."""
    above = lines_above_header(_sample(path, csv).splitlines(keepends=True), csv.separator) if not csv.skip else 0
    return f"the header seems to be in line {above + 1}: write `skip_lines = {above}`" if above else ""


def separator_hint(path: Path, csv: Csv, required: Collection[str] = ()) -> str:
    """Return a hint on another separator that fits the first lines better and gives the required columns, or none."""
    sample = _sample(path, csv)
    return better_separator(sample, csv.separator, required, whole=len(sample) < _SAMPLE_SIZE)


def _sample(path: Path, csv: Csv) -> str:
    """Return the beginning of a file; empty if it cannot be read."""
    try:
        with text(path, csv) as file:
            return file.read(_SAMPLE_SIZE)
    except _FAULTS:
        return ""


def _refuse(path: Path, fault: str) -> NoReturn:
    """Raise TailorbirdError without its cause, because a library's message quotes the unreadable value."""
    raise TailorbirdError(f"{path} cannot be read: {fault}. Fix the file or the mapping; nothing was stored.") from None

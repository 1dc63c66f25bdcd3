"""Pulls rows of a relation into a Parquet file, up to a border between two values of the cursor.

Values of a database driver become Arrow columns, with types that rows of later chunks can share.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Select

from models.ingest.tabular.sql_cursor import CursorPosition
from models.ingest.tabular.values import is_number
from tasks.sources.sql.relation import Relation

BATCH_ROWS: Final = 1_000_000
"""Rows after which a batch ends, at the next change of the cursor."""
Advance = Callable[..., None]
"""A function of the number of rows that were read."""
_DIGITS: Final = 38
_MOMENT: Final = pa.timestamp("us")
_LARGEST: Final = 2**63


class ParquetSpool:
    """A Parquet file that grows by rows of a database. Its content depends on the rows alone."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """Begin a file with these columns."""
        self._path, self._names = path, tuple(names)
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._types: list[pa.DataType] = [pa.null()] * len(names)
        self.rows = 0

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Return the type of each column so far."""
        return dict(zip(self._names, self._types, strict=True))

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows."""
        if not rows:
            return
        arrays = [arrow_column(values) for values in zip(*rows, strict=True)]
        types = [common_type(before, array.type) for before, array in zip(self._types, arrays, strict=True)]
        if self._writer is None or types != self._types:
            self.close()
            self._types = types
            self._parts.append(self._path.with_name(f"{self._path.name}.{len(self._parts)}"))
            self._writer = pq.ParquetWriter(self._parts[-1], self._schema())
        self._writer.write_table(pa.Table.from_arrays(arrays, names=list(self._names)).cast(self._schema()))
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the file, with the widest type of each column."""
        self.close()
        if len(self._parts) == 1:
            self._parts[0].rename(self._path)
            return
        with pq.ParquetWriter(self._path, self._schema()) as writer:
            for part in self._parts:
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches():
                        writer.write_table(pa.Table.from_batches([batch]).cast(self._schema()))
                part.unlink()

    def _schema(self) -> pa.Schema:
        return pa.schema(list(zip(self._names, self._types, strict=True)))

    def close(self) -> None:
        """Close the part that is being written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@dataclass(frozen=True)
class Pull:
    """The rows of one batch."""

    rows: int
    last: CursorPosition | None
    """The position of the last row; None without a cursor."""
    complete: bool
    """Whether there was no further row."""
    types: dict[str, pa.DataType]
    """The type of each column that was read."""


def pull_rows(
    connection: Connection, relation: Relation, statement: Select[Any], path: Path, advance: Advance, most: int | None
) -> Pull:
    """Write the rows of a statement to `path`, if there are any.

    After `most` rows it stops before the first row with another value of the cursor, so that rows with equal values are
    never separated.
    """
    cursor = relation.read.index(relation.cursor) if relation.cursor else None
    last: Any = None
    read, complete = 0, True
    with closing(ParquetSpool(path, relation.columns)) as spool:
        with connection.execute(statement) as result:
            for rows in result.partitions():
                end = len(rows) if cursor is None or most is None else _border(rows, cursor, last, most - read)
                spool.write(_shaped(rows[:end], relation))
                read += end
                advance(end)
                if cursor is not None and end:
                    last = rows[end - 1][cursor]
                if end < len(rows):
                    complete = False
                    break
        if spool.rows:
            spool.finish()
    position = None if last is None else CursorPosition.of(last, relation.cursor or "")
    return Pull(read, position, complete, spool.types)


def _border(rows: Sequence[Any], cursor: int, last: Any, left: int) -> int:
    """Return the number of rows that belong to the batch, which has room for `left` rows."""
    if left >= len(rows):
        return len(rows)
    place = max(left, 0)
    before = rows[place - 1][cursor] if place else last
    while place < len(rows) and rows[place][cursor] == before:
        place += 1
    return place


def _shaped(rows: Sequence[Any], relation: Relation) -> list[tuple[Any, ...]]:
    """Return the values of the mapping's columns, with one row for each object of a list to unnest."""
    places = [relation.read.index(name) if name in relation.found else None for name in relation.columns]
    if relation.unnest is None:
        return [tuple(row[place] for place in places if place is not None) for row in rows]
    unnested = relation.read.index(relation.unnest)
    return [
        tuple(
            element.get(name, None if place is None else row[place])
            for name, place in zip(relation.columns, places, strict=True)
        )
        for row in rows
        for element in _elements(row[unnested])
    ]


def _elements(cell: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list in JSON, or one without fields for any other cell."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            cell = None
    objects = [one for one in cell if isinstance(one, dict)] if isinstance(cell, list) else []
    yield from objects or [{}]


def arrow_column(values: Sequence[Any]) -> pa.Array:
    """Return values as an Arrow array: booleans, whole numbers, decimals, floats, times, dates or texts."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    made = _exact(kinds, values)
    return made if made is not None else pa.array([_text(value) for value in values], pa.string())


def _exact(kinds: set[type], values: Sequence[Any]) -> pa.Array | None:
    """Return values of one kind as they are; None if text has to stand for them."""
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or -_LARGEST <= value < _LARGEST for value in values):
        return pa.array(values, pa.int64())
    if float in kinds and kinds <= {float, int, Decimal}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds <= {int, Decimal}:
        return _decimals([None if value is None else Decimal(value) for value in values])
    if all(issubclass(kind, datetime) for kind in kinds):
        zones = {value.tzinfo is not None for value in values if value is not None}
        return pa.array(values, pa.timestamp("us", "UTC") if zones == {True} else _MOMENT) if len(zones) == 1 else None
    return pa.array(values, pa.date32()) if kinds == {date} else None


def _decimals(values: Sequence[Decimal | None]) -> pa.Array | None:
    """Return decimals with the largest scale among them; None if they have too many digits."""
    parts = [value.as_tuple() for value in values if value is not None]
    if any(not isinstance(part.exponent, int) for part in parts):  # not a number, or infinite
        return None
    scale = max((max(0, -int(part.exponent)) for part in parts), default=0)
    whole = max((len(part.digits) + int(part.exponent) for part in parts), default=0)
    return pa.array(values, pa.decimal128(_DIGITS, scale)) if whole + scale <= _DIGITS else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return value.isoformat() if isinstance(value, date) else str(value)


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both; text if nothing else does."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    both = (first, second)
    if all(map(is_number, both)):
        if any(map(pa.types.is_floating, both)):
            return pa.float64()
        return pa.decimal128(_DIGITS, max(kind.scale for kind in both if pa.types.is_decimal(kind)))
    if (pa.types.is_date(first) and second == _MOMENT) or (pa.types.is_date(second) and first == _MOMENT):
        return _MOMENT
    return pa.string()


def kind_name(kind: pa.DataType) -> str:
    """Return a type in a word for people; empty if there were no values."""
    if pa.types.is_null(kind):
        return ""
    if is_number(kind):
        return "number"
    if pa.types.is_timestamp(kind):
        return "time" if kind.tz else "time without a zone"
    return "date" if pa.types.is_date(kind) else "true or false" if pa.types.is_boolean(kind) else "text"

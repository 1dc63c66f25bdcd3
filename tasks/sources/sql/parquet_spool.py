"""Writes rows to one Parquet file chunk by chunk, also if later chunks need wider types."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.sources.sql.arrow_columns import arrow_column, common_type


class ParquetSpool:
    """A Parquet file that grows by rows of a database. Its content depends on the rows alone."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """Begin a file with these columns."""
        self._path, self._names = path, tuple(names)
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._types: list[pa.DataType] = [pa.null()] * len(names)
        self.rows = 0

    def __enter__(self) -> Self:
        """Return the spool, to write to it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the part that is being written."""
        self._close()

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
            self._close()
            self._types = types
            self._parts.append(self._path.with_name(f"{self._path.name}.{len(self._parts)}"))
            self._writer = pq.ParquetWriter(self._parts[-1], self._schema())
        self._writer.write_table(_cast(pa.Table.from_arrays(arrays, names=list(self._names)), self._schema()))
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the file, with the widest type of each column."""
        self._close()
        if len(self._parts) == 1:
            self._parts[0].rename(self._path)
            return
        with pq.ParquetWriter(self._path, self._schema()) as writer:
            for part in self._parts:
                for rows in _batches(part):
                    writer.write_table(_cast(rows, self._schema()))
                part.unlink()

    def _schema(self) -> pa.Schema:
        return pa.schema(list(zip(self._names, self._types, strict=True)))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _batches(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield pa.Table.from_batches([batch])


def _cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with these types; a number as text keeps all its digits."""
    return rows if rows.schema == schema else rows.cast(schema)

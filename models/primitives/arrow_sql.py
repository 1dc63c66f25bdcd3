"""Run SQL over Arrow tables in memory with DuckDB: no file, no server, nothing shared between calls."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS: Final = 20_000
# One thread processes one Arrow batch; smaller batches keep all cores busy.
_FEW_ROWS: Final = 10_000
warnings.filterwarnings("ignore", "Arrow output on a DB-API result makes an extra copy")


Query = Callable[..., pa.Table]
"""Runs one statement, which sees the tables under their argument names."""


@cache
def engine() -> "duckdb.DuckDBPyConnection":
    """Return the empty in-memory database of the process: opening one takes 30 ms, a cursor almost nothing.

    Register tables and create temporary ones on a cursor: no other cursor sees them. Times are in UTC on every
    machine: a time as text, and its hash, must not depend on the local zone. It has as many threads as Arrow, which
    the environment limits.
    """
    import duckdb  # on first use: a server of a bundle needs none

    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET GLOBAL threads = {pa.cpu_count()}")
    return connection


@contextmanager
def connected() -> Iterator[Query]:
    """Yield a `query` for several statements, whose tables are private to this context."""
    import duckdb

    with engine().cursor() as connection:
        sizes: dict[str, int] = {}

        def run(statement: str, **tables: pa.Table) -> pa.Table:
            for name, rows in tables.items():
                connection.register(name, pa.Table.from_batches(rows.to_batches(_BATCH_ROWS), rows.schema))
                sizes[name] = rows.num_rows
            try:
                return executed(connection, statement, sum(sizes.values())).to_arrow_table()
            except (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException) as error:
                # Keep only the kind of error: the rest quotes a value of a row.
                raise type(error)(str(error).partition(":")[0]) from None

        yield run


def executed(
    connection: "duckdb.DuckDBPyConnection", statement: str, size: int
) -> "duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation":
    """Return the result of a statement that reads about `size` rows, for Arrow.

    `sql` plans a statement twice, up to 20 ms each time, and `execute` copies its result.
    """
    if size > _FEW_ROWS:
        return connection.sql(statement)
    return connection.execute(statement)


def query(statement: str, **tables: pa.Table) -> pa.Table:
    """Run one statement; it sees the tables under their argument names."""
    with connected() as run:
        return run(statement, **tables)


def texts(values: Iterable[str]) -> str:
    """Return a SQL list of text literals, with the texts escaped."""
    return "[" + ", ".join(map(literal, values)) + "]"


def literal(value: str) -> str:
    """Return a text as an escaped SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a name of a column or a table as SQL."""
    return '"' + name.replace('"', '""') + '"'


def statement_of(file: Path, **parts: object) -> str:
    """Return the SQL of a file with its parts, which it names in braces."""
    return file.read_text("utf-8").format(**parts)

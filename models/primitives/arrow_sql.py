"""SQL over Arrow tables in memory, by DuckDB: no file, no server, nothing shared between calls."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, Protocol

import duckdb
import pyarrow as pa

_BATCH_ROWS: Final = 20_000
# One large Arrow batch is worked on by one thread; smaller ones keep all cores busy.


class Query(Protocol):
    """Runs one statement, which sees the tables by the names they are given here."""

    def __call__(self, statement: str, **tables: pa.Table) -> pa.Table: ...


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One empty in-memory database a process: opening another one costs 30 ms, a cursor on it next to nothing."""
    return duckdb.connect()


@contextmanager
def connected() -> Iterator[Query]:
    """A `query` for several statements, whose tables nobody else sees.

    Times are in UTC wherever the machine stands: a time as text, and so its hash, must not depend on that.
    """
    with _engine().cursor() as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def run(statement: str, **tables: pa.Table) -> pa.Table:
            for name, rows in tables.items():
                connection.register(name, pa.Table.from_batches(rows.to_batches(_BATCH_ROWS), rows.schema))
            try:
                return connection.sql(statement).to_arrow_table()
            except (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException) as error:
                # The kind alone: the rest quotes a value of a row.
                raise type(error)(str(error).partition(":")[0]) from None

        yield run


def query(statement: str, **tables: pa.Table) -> pa.Table:
    """Run one statement; it sees the tables by the names they are given here."""
    with connected() as run:
        return run(statement, **tables)


def texts(values: Iterable[str]) -> str:
    """A list of text literals, whatever the texts hold."""
    return "[" + ", ".join(map(literal, values)) + "]"


def literal(value: str) -> str:
    """Write a text as a literal, whatever it holds."""
    return "'" + value.replace("'", "''") + "'"

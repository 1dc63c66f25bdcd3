"""SQL over Arrow tables in memory, by DuckDB: no file, no server, nothing shared between calls."""

from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa


def query(statement: str, **tables: Any) -> pa.Table:
    """Run one statement; it sees the tables by the names they are given here.

    Times are in UTC wherever the machine stands: a time as text, and so its hash, must not depend on that.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            connection.register(name, rows)
        return connection.sql(statement).to_arrow_table()


def texts(values: Iterable[str]) -> str:
    """A list of text literals, whatever the texts hold."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"

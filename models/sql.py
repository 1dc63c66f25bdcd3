"""SQL over Arrow tables in memory, by DuckDB: no file, no server, nothing shared between calls."""

from typing import Any

import duckdb
import pyarrow as pa


def query(statement: str, **tables: Any) -> pa.Table:
    """Run one statement; it sees the tables by the names they are given here."""
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        return connection.sql(statement).to_arrow_table()

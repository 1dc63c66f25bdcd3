"""What an ingest has counted and stored."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from infra.installation import Installation
from models.columns import LEDGER


def counted(entry: Mapping[str, Any], *more: str) -> dict[str, int]:
    """Return the counts of a line of the ledger that are not 0, which add up; `more` name others."""
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
    return {name: entry[name] for name in (*LEDGER, *more) if entry[name]}


def lake(installation: Installation) -> list[dict[str, Any]]:
    """Return the events of the lake, by their ids."""
    tables = [pq.read_table(file, partitioning=None) for file in installation.lake.event_files()]
    rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="default").to_pylist() if tables else []
    return sorted(rows, key=lambda row: row["event_id"])


def rows(installation: Installation, table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    with installation.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]

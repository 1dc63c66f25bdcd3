"""Measures the share of empty values of each feature by source."""

from typing import Final

import duckdb
import pyarrow as pa
from sqlalchemy import Table, select

from expectations.datasets import TABLES
from infra.database.bulk_copy import read_table
from infra.database.schema.schema import ingest_batches, items, users
from infra.installation import Installation
from models import columns
from tasks.ingest.ledger import COMMITTED

_DESCRIBED_BY: Final = {columns.USER_KEY: users, columns.ITEM_ID: items}
_KEYS: Final = {
    "user_features": columns.USER_KEY,
    "item_features": columns.ITEM_ID,
    "pair_features": columns.ITEM_ID,  # its users may come from several sources; prices come from the catalogue
}


def null_shares(
    installation: Installation, connection: duckdb.DuckDBPyConnection, stored: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Return the share of empty values by source and by feature, as `<table>_<feature>`.

    The source of a user or an item is the source of the last batch with its attributes.
    """
    sources = _sources(installation)
    described = (
        {} if len(sources) < 2 else {key: _described(installation, table) for key, table in _DESCRIBED_BY.items()}
    )
    shares_by_source: dict[str, dict[str, float]] = {}
    for table, features in TABLES.items():
        names = [feature.name for feature in features]
        shares = ", ".join(f'1 - count("{name}") / count(*)' for name in names)
        if described:
            connection.register("described", described[_KEYS[table]])
            rows = f"{stored[table]} JOIN described ON described.key = {_KEYS[table]}"
            lines = connection.execute(f"SELECT source, {shares} FROM {rows} GROUP BY source").fetchall()
            connection.unregister("described")
        else:
            total = connection.execute(f"SELECT {shares} FROM {stored[table]} HAVING count(*) > 0").fetchall()
            lines = [(source, *line) for source in sources for line in total]
        for source, *values in lines:
            shares_by_source.setdefault(source, {}).update(
                {f"{table}_{name}": float(value) for name, value in zip(names, values, strict=True)}
            )
    return shares_by_source


def _sources(installation: Installation) -> list[str]:
    """Return the sources of committed batches."""
    query = select(ingest_batches.c.source).where(ingest_batches.c.status == COMMITTED).distinct()
    with installation.engine.connect() as database:
        return sorted(database.execute(query).scalars())


def _described(installation: Installation, table: Table) -> pa.Table:
    """Return the source of each user or item."""
    key = table.primary_key.columns.values()[0]
    rows = select(key.label("key"), ingest_batches.c.source).join_from(
        table, ingest_batches, ingest_batches.c.batch_id == table.c.batch_id
    )
    with installation.engine.connect() as database:
        return read_table(database, rows, {"key": pa.string(), "source": pa.string()})

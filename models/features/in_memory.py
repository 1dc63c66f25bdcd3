"""Compute feature tables in memory from purchases, for moments that a data set does not store."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import duckdb
import narwhals as nw
import pyarrow as pa

from models.columns import PURCHASE, REFUNDED_AT
from models.features.expressions import Frame
from models.features.moments import MOMENT, moved
from models.features.tables.registry import TABLES, FeatureTables
from models.primitives.arrow_sql import engine, executed

_INPUT_TABLES: Final = (
    # Data sets of earlier formats do not record refunds.
    f"""CREATE TEMP TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM (
        SELECT NULL::BIGINT AS {REFUNDED_AT} WHERE false UNION ALL BY NAME SELECT * FROM purchases)""",
    "CREATE TEMP TABLE items AS SELECT item_id, category, brand, price, available FROM catalogue",
)


class _Statements(NamedTuple):
    """The statements that compute the tables of the registry, in their order."""

    intermediate: tuple[str, ...]
    tables: tuple[str, ...]


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """Return the tables of the registry at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts have the values of a shop without any.
    """
    statements = _statements(purchases.schema, items.schema)
    with engine().cursor() as connection:
        _load(connection, purchases, items)
        for statement in statements.intermediate:
            connection.execute(moved(statement, now))
        results = (executed(connection, moved(table, now), len(purchases)) for table in statements.tables)
        return FeatureTables(*(result.to_arrow_table() for result in results))


@lru_cache(maxsize=32)
def _statements(purchases: pa.Schema, items: pa.Schema) -> _Statements:
    """Return the statements for tables of these columns at `MOMENT`: building them takes a quarter of a second."""
    with engine().cursor() as connection:
        _load(connection, purchases.empty_table(), items.empty_table())
        stored: dict[str, str] = {}

        def materialize(frame: Callable[[], Frame], name: str) -> Frame:
            if name not in stored:
                statement = f'CREATE TEMP TABLE "{name}" AS {frame().to_native().sql_query()}'
                connection.execute(statement)
                stored[name] = statement
            return nw.from_native(connection.table(f'"{name}"'))

        events, catalogue = (nw.from_native(connection.table(name)) for name in ("events", "items"))
        tables = (table.build(events, catalogue, MOMENT, materialize) for table in TABLES.values())
        queries = tuple(rows.to_native().sql_query() for rows in tables)
        return _Statements(tuple(stored.values()), queries)


def _load(connection: duckdb.DuckDBPyConnection, purchases: pa.Table, items: pa.Table) -> None:
    connection.register("purchases", purchases)
    connection.register("catalogue", items)
    for statement in _INPUT_TABLES:
        connection.execute(statement)

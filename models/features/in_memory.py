"""Compute feature tables in memory from purchases, for moments that a data set does not store."""

from functools import lru_cache
from itertools import chain
from typing import Final

import duckdb
import narwhals as nw
import pyarrow as pa

from models.columns import PURCHASE, REFUNDED_AT
from models.features.planned_queries import TEMPORARY, Queries, columns_of, plan
from models.features.tables.registry import TABLES, FeatureTables
from models.primitives.arrow_sql import engine, executed

_INPUT_TABLES: Final = (
    # Data sets of earlier formats do not record refunds.
    f"""CREATE TEMP TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM (
        SELECT NULL::BIGINT AS {REFUNDED_AT} WHERE false UNION ALL BY NAME SELECT * FROM purchases)""",
    "CREATE TEMP TABLE items AS SELECT item_id, category, brand, price, available FROM catalogue",
)


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """Return the tables of the registry at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts have the values of a shop without any.
    """
    plans = [queries.at(now) for queries in _plans(purchases.schema, items.schema)]
    with engine().cursor() as connection:
        _load(connection, purchases, items)
        for name, query in dict(chain.from_iterable(queries.stored for queries in plans)).items():
            connection.execute(f'CREATE TEMP TABLE "{name}" AS {query}')
        results = (executed(connection, queries.table, len(purchases)) for queries in plans)
        return FeatureTables(*(result.to_arrow_table() for result in results))


@lru_cache(maxsize=32)
def _plans(purchases: pa.Schema, items: pa.Schema) -> tuple[Queries, ...]:
    """Return the plans of the tables of the registry, in their order, for tables of these columns."""
    with engine().cursor() as connection:
        _load(connection, purchases.empty_table(), items.empty_table())
        columns = [columns_of(nw.from_native(connection.table(name))) for name in ("events", "items")]
    return tuple(plan(table.build, *columns, catalogue="items", schema=TEMPORARY) for table in TABLES.values())


def _load(connection: duckdb.DuckDBPyConnection, purchases: pa.Table, items: pa.Table) -> None:
    connection.register("purchases", purchases)
    connection.register("catalogue", items)
    for statement in _INPUT_TABLES:
        connection.execute(statement)

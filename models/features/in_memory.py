"""Compute feature tables in memory from purchases, for moments that a data set does not store."""

from collections.abc import Callable
from typing import Final

import duckdb
import narwhals as nw
import pyarrow as pa

from models.columns import PURCHASE, REFUNDED_AT
from models.features.expressions import Frame
from models.features.tables.registry import TABLES, FeatureTables

_INPUT_TABLES: Final = (
    # Data sets of earlier formats do not record refunds.
    f"""CREATE TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM (
        SELECT NULL::BIGINT AS {REFUNDED_AT} WHERE false UNION ALL BY NAME SELECT * FROM purchases)""",
    "CREATE TABLE items AS SELECT item_id, category, brand, price, available FROM catalogue",
)


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """Return the tables of the registry at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts have the values of a shop without any.
    """
    with duckdb.connect() as connection:
        connection.register("purchases", purchases)
        connection.register("catalogue", items)
        for statement in _INPUT_TABLES:
            connection.execute(statement)

        stored: set[str] = set()

        def materialize(frame: Callable[[], Frame], name: str) -> Frame:
            if name not in stored:
                connection.execute(f'CREATE TABLE "{name}" AS {frame().to_native().sql_query()}')
                stored.add(name)
            return nw.from_native(connection.table(f'"{name}"'))

        events, catalogue = (nw.from_native(connection.table(name)) for name in ("events", "items"))
        tables = (table.build(events, catalogue, now, materialize) for table in TABLES.values())
        return FeatureTables(*(rows.collect("pyarrow").to_native() for rows in tables))

"""The feature tables at any moment, worked out in memory from purchases: for moments that a data set does not store."""

from typing import Any, Final, NamedTuple

import duckdb
import narwhals as nw
import pyarrow as pa

from models.columns import PURCHASE
from models.features.tables import TABLES

_LAID_OUT: Final = (
    f"CREATE TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM purchases",
    "CREATE TABLE shelf AS SELECT item_id, category, brand, price, available FROM catalogue",
)


class FeatureTables(NamedTuple):
    """What was known at one moment: a row per user, per item, and per user and item with history."""

    users: pa.Table
    items: pa.Table
    pairs: pa.Table


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """The tables of `models.features.tables.TABLES` at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts are then those of a shop without any.
    """
    with duckdb.connect() as connection:
        connection.register("purchases", purchases)
        connection.register("catalogue", items)
        for statement in _LAID_OUT:
            connection.execute(statement)

        def keep(frame: nw.LazyFrame[Any], name: str) -> nw.LazyFrame[Any]:
            connection.execute(f'CREATE TABLE IF NOT EXISTS "{name}" AS {frame.to_native().sql_query()}')
            return nw.from_native(connection.table(f'"{name}"'))

        events, shelf = (nw.from_native(connection.table(name)) for name in ("events", "shelf"))
        built = (table.build(events, shelf, now, keep) for table in TABLES.values())
        return FeatureTables(*(rows.collect("pyarrow").to_native() for rows in built))

"""The feature tables at any moment, worked out in memory from purchases: for moments that a data set does not store."""

from collections.abc import Callable
from typing import Final

import duckdb
import narwhals as nw
import pyarrow as pa

from models.columns import PURCHASE, REFUNDED_AT
from models.features.expressions import Frame
from models.features.tables.registry import TABLES, FeatureTables

_LAID_OUT: Final = (
    # Data sets of earlier formats do not say what was taken back.
    f"""CREATE TABLE events AS SELECT *, '{PURCHASE}' AS event_type FROM (
        SELECT NULL::BIGINT AS {REFUNDED_AT} WHERE false UNION ALL BY NAME SELECT * FROM purchases)""",
    "CREATE TABLE shelf AS SELECT item_id, category, brand, price, available FROM catalogue",
)


def feature_tables(purchases: pa.Table, items: pa.Table, now: int) -> FeatureTables:
    """Return the tables of the registry at `now` (epoch s), from purchases and the catalogue alone.

    Features of views and carts are then those of a shop without any.
    """
    with duckdb.connect() as connection:
        connection.register("purchases", purchases)
        connection.register("catalogue", items)
        for statement in _LAID_OUT:
            connection.execute(statement)

        kept: set[str] = set()

        def materialize(frame: Callable[[], Frame], name: str) -> Frame:
            if name not in kept:
                connection.execute(f'CREATE TABLE "{name}" AS {frame().to_native().sql_query()}')
                kept.add(name)
            return nw.from_native(connection.table(f'"{name}"'))

        events, shelf = (nw.from_native(connection.table(name)) for name in ("events", "shelf"))
        built = (table.build(events, shelf, now, materialize) for table in TABLES.values())
        return FeatureTables(*(rows.collect("pyarrow").to_native() for rows in built))

"""Stores what customers usually pay for an item, which stands in for prices that the catalogue lacks."""

from typing import Final

import duckdb
from sqlalchemy import text

from infra.installation import Installation
from models import columns
from tasks.ingest.rows.apply import lock_entities
from tasks.lake.event_query import EventQuery, of_type

_PAID: Final = f"""
    WITH by_currency AS ({
    EventQuery()
    .where(of_type(columns.PURCHASE), "value > 0", "quantity > 0")
    .select("event.item_id, currency, count(*) AS bought, round(median(value / quantity), 4) AS price", "GROUP BY 1, 2")
})
    SELECT item_id, price, currency FROM by_currency
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY bought DESC, currency) = 1
"""
"""Of an item sold in several currencies, the most frequent one counts."""
_STORE: Final = text("""
    UPDATE items SET price_paid = paid.price, currency_paid = paid.currency
    FROM items AS known LEFT JOIN unnest(CAST(:item_id AS text[]), CAST(:price AS float[]), CAST(:currency AS text[]))
        AS paid (item_id, price, currency) USING (item_id)
    WHERE known.item_id = items.item_id
        AND (items.price_paid, items.currency_paid) IS DISTINCT FROM (paid.price, paid.currency)
""")


def store_prices_paid(installation: Installation, connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Store the median price of a piece of each item, by the purchases in these files of the lake."""
    paid = connection.sql(_PAID, params={"files": files}).to_arrow_table().to_pydict()
    with installation.engine.begin() as database:
        lock_entities(database)
        database.execute(_STORE, paid)

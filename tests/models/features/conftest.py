"""A tiny shop, and its features on every installed engine."""

from collections.abc import Callable, Iterable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest

EVENT = ["user_key", "item_id", "event_type", "occurred_at", "session_id", "quantity", "value", "received_at"]
NUMBERS = {"occurred_at": "int64", "received_at": "int64", "quantity": "float64", "value": "float64"}
ITEM = ["item_id", "category", "brand", "price"]

Engine = Callable[[pd.DataFrame], nw.LazyFrame[Any]]
Answer = Callable[..., list[dict[str, object]]]


def on_duckdb(frame: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(duckdb.default_connection().from_df(frame))


def on_pandas(frame: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(frame).lazy()


@pytest.fixture(params=[on_duckdb, on_pandas])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture
def answer(engine: Engine) -> Answer:
    """The rows of a feature table. An event is (user, item, type, moment) and, if it matters, the session, quantity,
    value and the moment it was received; an item is (item, category, brand, price)."""

    def rows_of(build: Any, events: Iterable[Any], items: Iterable[Any], now: int) -> list[dict[str, object]]:
        rows = pd.DataFrame([(*row, *[None] * (len(EVENT) - len(row))) for row in events], columns=EVENT)
        rows["received_at"] = rows.received_at.fillna(rows.occurred_at)
        catalogue = pd.DataFrame(items, columns=ITEM).astype({"price": "float64"})
        table = build(engine(rows.astype(NUMBERS)), engine(catalogue), now).collect("pyarrow").to_arrow().to_pylist()
        return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in table]

    return rows_of

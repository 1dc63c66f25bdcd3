"""The future moves nothing: a random shop, seen from its middle, with another future each time."""

from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from models.columns import EVENT_TYPES
from models.features import definitions
from models.features.tables.registry import TABLES
from models.features.tables.user_features import sequences

DAY = 86_400
NOW = 100 * DAY
KEYS = {name: list(table.keys) for name, table in TABLES.items()} | {"sequences": ["user_key", "position"]}
COLUMNS = {name: [feature.name for feature in table.features] for name, table in TABLES.items()}
COLUMNS["sequences"] = ["item_id", "event_type", "occurred_at"]

Build = Callable[[nw.LazyFrame[Any], nw.LazyFrame[Any], int], nw.LazyFrame[Any]]


def built(name: str) -> Build:
    return TABLES[name].build if name in TABLES else lambda events, _, now: sequences(events, now)


def a_shop(seed: int, rows: int) -> pd.DataFrame:
    """Events over 200 days, every type among them, a third received up to 50 days late. Of the first rows some are to
    the second at NOW, and some purchases of the very first days that were received at NOW."""
    random = np.random.default_rng(seed)
    at = random.integers(0, 200 * DAY, rows)
    late = random.integers(0, 50 * DAY, rows) * (random.random(rows) < 1 / 3)
    types = random.choice([*EVENT_TYPES, *["purchase", "view", "add_to_cart"] * 3], rows)
    at[:50], late[:50] = NOW, 0
    at[50:100] = random.integers(0, DAY, 50)
    late[50:100], types[50:100] = NOW - at[50:100], "purchase"
    return pd.DataFrame(
        {
            "user_key": [f"u{user}" for user in random.integers(0, 12, rows)],
            "item_id": [f"i{item}" for item in random.integers(0, 20, rows)],
            "event_type": types,
            "occurred_at": at,
            "received_at": at + late,
            "session_id": [None if moment % 3 == 0 else f"s{moment // DAY}" for moment in at],
            "quantity": random.integers(0, 4, rows).astype(float),
            "value": random.integers(0, 90, rows) / 4,
        }
    )


def the_catalogue() -> pd.DataFrame:
    rows = [(f"i{n}", f"d{n % 6}|x" if n else None, f"b{n // 2}", None) for n in range(18)]
    return pd.DataFrame(rows, columns=["item_id", "category", "brand", "price"]).astype({"price": "float64"})


def is_known(events: pd.DataFrame) -> pd.Series:
    return (events.occurred_at < NOW) & (events.received_at < NOW)


def grown(events: pd.DataFrame) -> pd.DataFrame:
    more = a_shop(2, len(events))
    return pd.concat([events, more[~is_known(more)]])


def changed(events: pd.DataFrame) -> pd.DataFrame:
    other = a_shop(3, 4 * len(events))
    other = other[~is_known(other)].head((~is_known(events)).sum())
    return pd.concat([other, events[is_known(events)]])


def gone(events: pd.DataFrame) -> pd.DataFrame:
    return events[is_known(events)]


def table(name: str, events: pd.DataFrame, build: Build | None = None, now: int = NOW) -> pd.DataFrame:
    with duckdb.connect() as connection:
        frames = (nw.from_native(connection.from_df(frame)) for frame in (events, the_catalogue()))
        result = (build or built(name))(*frames, now).collect("pyarrow").to_native().to_pandas()
    return result.sort_values(KEYS[name], ignore_index=True)


def moved(before: pd.DataFrame, after: pd.DataFrame) -> set[str]:
    """The columns that differ by more than the order in which an engine adds up."""
    if len(before) != len(after):
        return {*before}
    return {column for column in before if not alike(before[column], after[column])}


def alike(before: pd.Series, after: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(before):
        return np.allclose(before.astype(float), after.astype(float), rtol=1e-9, atol=1e-12, equal_nan=True)
    return before.astype(object).where(before.notna(), None).equals(after.astype(object).where(after.notna(), None))


@pytest.mark.parametrize("future", [grown, changed, gone])
@pytest.mark.parametrize("name", KEYS)
def test_no_feature_moves_with_the_future(name: str, future: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    events = a_shop(1, 3_000)
    assert (~is_known(events)).sum() > 1_000
    before = table(name, events)
    assert [*before] == KEYS[name] + COLUMNS[name]
    assert not moved(before, table(name, future(events)))


def test_every_catalogued_feature_is_in_a_table_that_is_tested() -> None:
    listed = {name: value for name, value in vars(definitions).items() if name.endswith("_FEATURES")}
    assert [*listed.values()] == [table.features for table in TABLES.values()]

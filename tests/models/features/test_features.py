"""Features by hand, on every engine that is installed, at a moment in time."""

from collections.abc import Callable
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd
import pytest

from models.features.catalog import ITEM_FEATURES, USER_FEATURES
from models.features.item import item_features
from models.features.user import user_features

DAY = 86_400
NOW = 400 * DAY
COLUMNS = ["user_key", "item_id", "occurred_at", "session_id", "quantity", "value"]
ROWS = [
    ("ann", "milk", 0, "s1", 2.0, 4.0),
    ("ann", "tea", 0, "s1", 1.0, 6.0),
    ("ann", "milk", 399 * DAY, "s2", 1.0, 2.0),
    ("ann", "milk", 399 * DAY + 3600, "s3", 1.0, 3.0),
    ("ann", "milk", 399 * DAY + 3700, "s3", 1.0, 3.0),  # the same basket once more
    ("bob", "milk", 393 * DAY, "s2", 2.0, 4.0),  # the very edge of 7 days; ann's session id
    ("bob", "tea", 390 * DAY, None, 1.0, None),
    ("bob", "tea", 391 * DAY, None, 0.0, 6.0),
    ("bob", "gum", NOW, "s9", 1.0, 1.0),  # now: not known yet
    ("cleo", "gum", NOW + 1, "s9", 1.0, 1.0),
]


def on_duckdb(frame: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(duckdb.connect().from_df(frame))


def on_pandas(frame: pd.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(frame).lazy()


@pytest.fixture(params=[on_duckdb, on_pandas])
def events(request: pytest.FixtureRequest) -> nw.LazyFrame[Any]:
    return request.param(pd.DataFrame(ROWS, columns=COLUMNS))


def rows(features: nw.LazyFrame[Any], key: str) -> dict[str, dict[str, float]]:
    collected = features.collect("pyarrow").to_arrow().to_pylist()
    return {row.pop(key): row for row in collected}


def test_users_by_hand(events: nw.LazyFrame[Any]) -> None:
    known = rows(user_features(events, NOW), "user_key")
    assert known == {
        "ann": pytest.approx(
            {
                "recency_days": 1 - 3700 / DAY,
                "frequency": 3,
                "monetary": 18.0,
                "tenure_days": 400,
                "active_days": 2,
            }
        ),
        "bob": pytest.approx(
            {"recency_days": 7, "frequency": 3, "monetary": 10.0, "tenure_days": 10, "active_days": 3}
        ),
    }


def test_items_by_hand(events: nw.LazyFrame[Any]) -> None:
    known = rows(item_features(events, NOW), "item_id")
    assert known == {
        "milk": pytest.approx(
            {
                "popularity_7d": 3,
                "popularity_28d": 3,
                "popularity_365d": 3,
                "distinct_users": 2,
                "mean_price": 16 / 7,
                "age_days": 400,
            }
        ),
        "tea": pytest.approx(
            {
                "popularity_7d": 0,
                "popularity_28d": 2,
                "popularity_365d": 2,
                "distinct_users": 2,
                "mean_price": 12 / 2,
                "age_days": 400,
            }
        ),
    }


@pytest.mark.parametrize("engine", [on_duckdb, on_pandas])
def test_the_future_changes_nothing(engine: Callable[[pd.DataFrame], nw.LazyFrame[Any]]) -> None:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    past = frame[frame.occurred_at < NOW]
    for features, key in ((user_features, "user_key"), (item_features, "item_id")):
        assert rows(features(engine(frame), NOW), key) == rows(features(engine(past), NOW), key)


def test_features_stay_lazy_on_duckdb() -> None:
    relation = on_duckdb(pd.DataFrame(ROWS, columns=COLUMNS))
    for features in (user_features, item_features):
        assert isinstance(features(relation, NOW).to_native(), duckdb.DuckDBPyRelation)


def test_the_catalogue_of_features_names_the_columns_in_order(events: nw.LazyFrame[Any]) -> None:
    for features, listed in ((user_features, USER_FEATURES), (item_features, ITEM_FEATURES)):
        columns = features(events, NOW).collect_schema().names()
        assert columns[1:] == [feature.name for feature in listed]
        assert all(feature.meaning and feature.unit for feature in listed)


def test_an_item_given_away_has_no_price(events: nw.LazyFrame[Any]) -> None:
    free = events.filter(nw.col("quantity") == 0)
    assert pd.isna(rows(item_features(free, NOW), "item_id")["tea"]["mean_price"])

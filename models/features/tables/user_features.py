"""Compute user features: recency, frequency, monetary value (Hughes 1994), visits and preferences."""

import narwhals as nw

from models.columns import OCCURRED_AT, USER_KEY, VALUE
from models.features.definitions import USER_FEATURES
from models.features.expressions import Frame, Materialize, days_before, no_cache, orders, purchases
from models.features.tables.catalogue_features import catalogue_features
from models.features.tables.preference_features import brands, departments, price_levels
from models.features.tables.session_features import visits
from models.primitives.time import DAY


def user_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per user with an event known at `now` (epoch s): `user_key` and `USER_FEATURES`. Stays lazy.

    `items` is the catalogue: item_id, category, brand, price. Sessions, engagement and habits use all events, the
    other features use purchases.
    """
    catalogue = materialize(lambda: catalogue_features(events, items, now, materialize), f"catalogue features {now}")
    table = visits(events, now)
    spent = _spending(events, now, materialize(lambda: orders(events, now), f"orders {now}"))
    for part in (spent, *(preference(events, catalogue, now) for preference in (price_levels, departments, brands))):
        table = table.join(part, on=USER_KEY, how="left")
    counts = ("frequency", "monetary", "active_days", "categories", "brands")
    return table.with_columns(nw.col(*counts).fill_null(0)).select(
        USER_KEY, *(feature.name for feature in USER_FEATURES)
    )


def _spending(events: Frame, now: int, orders: Frame) -> Frame:
    """Return one row per buyer: the features that do not depend on the items."""
    at, money = nw.col(OCCURRED_AT), nw.col(VALUE).sum()
    rows = purchases(events, now).with_columns((at // DAY).alias("_day"))
    days = rows.group_by(USER_KEY, "_day").agg(at.min().alias("_first"), at.max().alias("_last"), money)
    return (
        days.group_by(USER_KEY)
        .agg(nw.col("_first").min(), nw.col("_last").max(), money.alias("monetary"), nw.len().alias("active_days"))
        .join(orders, on=USER_KEY, how="left")
        .with_columns(
            days_before(now, "_last").alias("recency_days"),
            days_before(now, "_first").alias("tenure_days"),
            (nw.col("monetary") / nw.col("frequency")).alias("basket_value"),
        )
    )

"""What the purchases of an item say about the item: how wanted it is, of late and ever, its price and age."""

from typing import Any, Final

import narwhals as nw

from models.columns import ITEM_ID, OCCURRED_AT, QUANTITY, USER_KEY, VALUE
from models.features.catalog import ITEM_FEATURES
from models.features.rows import BASKET, DAY, before, days_before

WINDOWS: Final = (7, 28, 365)
"""Days of the popularity features."""


def item_features(events: nw.LazyFrame[Any], now: int) -> nw.LazyFrame[Any]:
    """One row per item with an event before `now` (epoch s): `item_id` and `ITEM_FEATURES`. Stays lazy.

    `events` holds one row per product and basket: user_key, item_id, occurred_at (epoch s), session_id,
    quantity, value. Should a basket hold the item in several rows, it still counts once, at its latest.
    """
    pieces, money = nw.col(QUANTITY), nw.col(VALUE)
    return (
        _baskets(events, now)
        .group_by(ITEM_ID)
        .agg(
            *(nw.col(f"popularity_{days}d").sum() for days in WINDOWS),
            nw.col(USER_KEY).n_unique().alias("distinct_users"),
            nw.col("_first").min(),
            pieces.sum(),
            money.sum(),
        )
        .with_columns(
            # Sums of integers come back as decimals from DuckDB.
            *(nw.col(f"popularity_{days}d").cast(nw.Int64) for days in WINDOWS),
            nw.when(pieces > 0).then(money / pieces).alias("mean_price"),
            days_before(now, "_first").alias("age_days"),
        )
        .select(ITEM_ID, *(feature.name for feature in ITEM_FEATURES))
    )


def _baskets(events: nw.LazyFrame[Any], now: int) -> nw.LazyFrame[Any]:
    """One row per item, user and basket, with a 1 in each window it falls into."""
    at = nw.col(OCCURRED_AT)
    return (
        before(events, now)
        .group_by(ITEM_ID, USER_KEY, BASKET)
        .agg(at.max(), at.min().alias("_first"), nw.col(QUANTITY).sum(), nw.col(VALUE).sum())
        .with_columns(*((at >= now - days * DAY).cast(nw.Int64).alias(f"popularity_{days}d") for days in WINDOWS))
    )

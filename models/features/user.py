"""What a user's purchases say about the user: recency, frequency, value (Hughes 1994) and habits."""

from typing import Any

import narwhals as nw

from models.columns import OCCURRED_AT, USER_KEY, VALUE
from models.features.catalog import USER_FEATURES
from models.features.rows import BASKET, DAY, before, days_before


def user_features(events: nw.LazyFrame[Any], now: int) -> nw.LazyFrame[Any]:
    """One row per user with an event before `now` (epoch s): `user_key` and `USER_FEATURES`. Stays lazy.

    `events` holds one row per product and basket: user_key, occurred_at (epoch s), session_id, value.
    """
    return (
        before(events, now)
        .with_columns((nw.col(OCCURRED_AT) // DAY).alias("_day"))
        .group_by(USER_KEY)
        .agg(
            nw.col(OCCURRED_AT).min().alias("_first"),
            nw.col(OCCURRED_AT).max().alias("_last"),
            nw.col(BASKET).n_unique().alias("frequency"),
            nw.col(VALUE).sum().alias("monetary"),
            nw.col("_day").n_unique().alias("active_days"),
        )
        .with_columns(
            days_before(now, "_last").alias("recency_days"),
            days_before(now, "_first").alias("tenure_days"),
        )
        .select(USER_KEY, *(feature.name for feature in USER_FEATURES))
    )

"""Compute user features: recency, frequency, monetary value (Hughes 1994), visits and preferences."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, ITEM_ID, OCCURRED_AT, USER_KEY, VALUE
from models.features.definitions import USER_FEATURES
from models.features.expressions import Frame, Materialize, days_before, no_cache, orders, purchases
from models.features.tables.catalogue_features import DEPARTMENT, PRICE_RANK, catalogue_features, numbered
from models.features.tables.session_features import visits
from models.primitives.time import DAY

_CODES: Final = 1 << 30
"""Larger than the number of names."""


def price_levels(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key and price_level: the mean price rank of the user's purchase rows."""
    ranks = catalogue.select(ITEM_ID, PRICE_RANK)
    bought = purchases(events, now).join(ranks, on=ITEM_ID, how="inner")
    return bought.group_by(USER_KEY).agg(nw.col(PRICE_RANK).mean().alias("price_level"))


def departments(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key, top_category, top_category_share, categories, category_entropy."""
    return _affinity(events, catalogue, now, DEPARTMENT, "category", "categories")


def brands(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key, top_brand, top_brand_share, brands, brand_entropy."""
    return _affinity(events, catalogue, now, BRAND, "brand", "brands")


def _affinity(events: Frame, catalogue: Frame, now: int, column: str, one: str, many: str) -> Frame:
    names_of_items = catalogue.filter(~nw.col(column).is_null()).select(ITEM_ID, nw.col(column).alias(f"top_{one}"))
    coded = names_of_items.with_columns(numbered(f"top_{one}").alias("_code"))
    names = coded.group_by("_code").agg(nw.col(f"top_{one}").min())
    rows = purchases(events, now).join(coded.select(ITEM_ID, "_code"), on=ITEM_ID, how="inner")
    counted = rows.group_by(USER_KEY, "_code").agg(nw.len().alias("_rows"))
    return _summary(counted, one, many).join(names, on="_code", how="left").drop("_code")


def _summary(counted: Frame, one: str, many: str) -> Frame:
    """Return the most frequent code (the smallest of equal ones), its share, the number of codes and their entropy.

    With n rows of each code and N of all, the entropy -sum(n/N ln(n/N)) is ln N - sum(n ln n)/N.
    """
    rows, total = nw.col("_rows"), nw.col("_total")
    ordered = counted.with_columns(
        (rows * _CODES + (_CODES - 1 - nw.col("_code"))).alias("_best"), (rows * rows.log()).alias("_bits")
    )
    sums = ordered.group_by(USER_KEY).agg(
        rows.sum().alias("_total"), nw.len().alias(many), nw.col("_best").max(), nw.col("_bits").sum(), rows.max()
    )
    # One code alone has an entropy of 0: rounding must not change it.
    entropy = nw.when(nw.col(many) > 1).then(total.log() - nw.col("_bits") / total).otherwise(nw.lit(0.0))
    return sums.with_columns(total.cast(nw.Int64)).select(
        USER_KEY,
        (_CODES - 1 - nw.col("_best") % _CODES).alias("_code"),
        (rows / total).alias(f"top_{one}_share"),
        many,
        entropy.alias(f"{one}_entropy"),
    )


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

"""Compute item features: popularity, price, age, repurchases and conversions."""

from typing import Final

import narwhals as nw

from models.columns import ITEM_ID, QUANTITY, VALUE
from models.features.definitions import ITEM_FEATURES
from models.features.expressions import Frame, Materialize, days_before, indicator, no_cache
from models.features.tables.catalogue_features import PRICE_RANK, catalogue_features
from models.features.tables.user_item_history import history, sales
from models.primitives.time import DAY

SMOOTHING: Final = 10
"""Users at the mean rate of the shop that are added to the users of each item to smooth a conversion."""

_CONVERSIONS: Final = {
    "view_to_cart": ("_viewers", "_viewed_carted"),
    "cart_to_purchase": ("_carters", "_carted_bought"),
    "view_to_purchase": ("_viewers", "_viewed_bought"),
}
"""The columns with the base and the converted users of each rate."""


def item_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per item with an event known at `now` (epoch s): `item_id` and `ITEM_FEATURES`. Stays lazy.

    `items` is the catalogue: item_id, category, brand, price. An impression alone makes no row.
    """
    pairs = materialize(lambda: history(events, now, materialize), f"history {now}")
    counted = materialize(
        lambda: sales(events, now, materialize).join(_counted(pairs, now), on=ITEM_ID, how="left"), f"counted {now}"
    )
    places = materialize(lambda: catalogue_features(events, items, now, materialize), f"catalogue features {now}")
    ranks = places.select(ITEM_ID, PRICE_RANK)
    pieces, money, week, month = (nw.col(name) for name in (QUANTITY, VALUE, "popularity_7d", "popularity_28d"))
    buyers = nw.col("distinct_users")
    features = counted.join(ranks, on=ITEM_ID, how="left").with_columns(
        ((week + 1) / (month / 4 + 1)).alias("trend"),
        nw.when(pieces > 0).then(money / pieces).alias("mean_price"),
        days_before(now, "_first").alias("age_days"),
        nw.when(buyers > 0).then(nw.col("_again") / buyers).alias("repurchase_rate"),
        *(_conversion(base, converted).alias(name) for name, (base, converted) in _CONVERSIONS.items()),
    )
    return features.select(ITEM_ID, *(feature.name for feature in ITEM_FEATURES))


def repurchase_gaps(pairs: Frame) -> Frame:
    """Return item_id and repurchase_gap_days of the items that were bought again, from `history`."""
    again = pairs.filter(~nw.col("own_gap_days").is_null())
    return again.group_by(ITEM_ID).agg(nw.col("own_gap_days").median().alias("repurchase_gap_days"))


def _counted(pairs: Frame, now: int) -> Frame:
    """Return one row per item: the number of its users in each group."""
    viewed, carted, bought = (nw.col(name) >= now - 28 * DAY for name in ("_viewed", "_carted", "_last"))
    baskets = nw.col("baskets")
    flags = {
        "distinct_users": baskets > 0,
        "_again": baskets > 1,
        "_viewers": viewed,
        "_carters": carted,
        "_viewed_carted": viewed & carted,
        "_viewed_bought": viewed & bought,
        "_carted_bought": carted & bought,
    }
    marked = pairs.with_columns(indicator(flag).alias(name) for name, flag in flags.items())
    gaps = nw.col("own_gap_days").median().alias("repurchase_gap_days")
    return marked.group_by(ITEM_ID).agg(nw.col(*flags).sum(), gaps).with_columns(nw.col(*flags).cast(nw.Int64))


def _conversion(base: str, converted: str) -> nw.Expr:
    """Return the share of `converted` in `base`, smoothed towards that of the whole shop; null without a base."""
    rate = nw.col(converted).sum() / nw.col(base).sum()
    return nw.when(nw.col(base) > 0).then((nw.col(converted) + SMOOTHING * rate) / (nw.col(base) + SMOOTHING))

"""What has been between each user and each item, and what became of each item: behind item and pair features."""

from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, PURCHASE, REFUND, USER_KEY
from models.features.expressions import (
    BASKET,
    Frame,
    Materialize,
    exponential_decay,
    indicator,
    known,
    no_cache,
    purchases,
    sold,
)
from models.primitives.time import DAY

WINDOWS: Final = (7, 28, 365)
"""Days of the popularity features."""
HALF_LIVES: Final = (7, 30, 90, 365)
"""Days in which the decayed counts of baskets halve."""

_NO_ACT: Final = ("impression", REFUND)
"""What the user did not do: being shown an item makes no history with it."""
_POPULARITY: Final = tuple(f"popularity_{days}d" for days in WINDOWS)
_DECAYED: Final = tuple(f"decayed_{days}d" for days in HALF_LIVES)


def history(events: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """One row per user and item between whom anything but an impression is known at `now` (epoch s).

    user_key, item_id, baskets, the decayed counts, views_7d; own_gap_days; and moments: `_first_basket`, `_last` and
    the latest `_viewed`, `_carted` and `_removed`. Few columns on purpose: there is a row for nearly every event.
    """
    last, pair = nw.col("_last"), (USER_KEY, ITEM_ID)
    decayed = (
        exponential_decay(now, "_last", days).alias(name) for days, name in zip(HALF_LIVES, _DECAYED, strict=True)
    )
    bought = _baskets(events, now, materialize).with_columns(last.alias("_first_basket"), *decayed).group_by(*pair)
    looked = _looks(events, now).group_by(*pair)
    whole = _whole(
        bought.agg(nw.len().alias("baskets"), nw.col(*_DECAYED).sum(), nw.col("_first_basket").min(), last.max()),
        looked.agg(nw.col("views_7d").sum(), nw.col("_viewed", "_carted", "_removed").max()),
        *pair,
    )
    baskets, days = nw.col("baskets"), (last - nw.col("_first_basket")) / DAY
    return whole.with_columns(
        nw.col("baskets", "views_7d").fill_null(0).cast(nw.Int64), nw.col(*_DECAYED).fill_null(0.0)
    ).with_columns(nw.when(baskets > 1).then(days / (baskets - 1)).alias("own_gap_days"))


def sales(events: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """One row per item with such a history: the popularity windows, views_28d, carts_28d, quantity, value and `_first`,
    the moment of its first purchase row."""
    looks = ("views_28d", "carts_28d")
    popular = (
        indicator(nw.col("_last") >= now - days * DAY).alias(name)
        for days, name in zip(WINDOWS, _POPULARITY, strict=True)
    )
    whole = _whole(
        _baskets(events, now, materialize).with_columns(*popular).group_by(ITEM_ID).agg(nw.col(*_POPULARITY).sum()),
        _looks(events, now).group_by(ITEM_ID).agg(nw.col(*looks).sum()),
        ITEM_ID,
    )
    counts = nw.col(*_POPULARITY, *looks).fill_null(0).cast(nw.Int64)
    sold_ = materialize(lambda: sold(events, now), f"sold {now}")
    return whole.with_columns(counts).join(sold_, on=ITEM_ID, how="left")


def _baskets(events: Frame, now: int, materialize: Materialize) -> Frame:
    """One row per user, item and basket. Several rows of the item in one basket count once, at the latest."""

    def baskets() -> Frame:
        rows = purchases(events, now).group_by(USER_KEY, ITEM_ID, BASKET)
        return rows.agg(nw.col(OCCURRED_AT).max().alias("_last")).drop(BASKET)

    return materialize(baskets, f"baskets {now}")


def _looks(events: Frame, now: int) -> Frame:
    """The other events, and what each of them says."""
    at, kind = nw.col(OCCURRED_AT), nw.col(EVENT_TYPE)
    viewed, carted, removed = kind == "view", kind == "add_to_cart", kind == "remove_from_cart"
    return (
        known(events, now)
        .filter(~kind.is_in([*_NO_ACT, PURCHASE]))
        .select(
            USER_KEY,
            ITEM_ID,
            indicator(viewed & (at >= now - 7 * DAY)).alias("views_7d"),
            indicator(viewed & (at >= now - 28 * DAY)).alias("views_28d"),
            indicator(carted & (at >= now - 28 * DAY)).alias("carts_28d"),
            nw.when(viewed).then(at).alias("_viewed"),
            nw.when(carted).then(at).alias("_carted"),
            nw.when(removed).then(at).alias("_removed"),
        )
    )


def _whole(bought: Frame, looked: Frame, *keys: str) -> Frame:
    """What has been bought and what was looked at, side by side: apart they need less room to be added up."""
    both = bought.join(looked, on=list(keys), how="full", suffix="_looked")
    named = both.with_columns(nw.coalesce(key, f"{key}_looked").alias(key) for key in keys)
    return named.drop(*(f"{key}_looked" for key in keys))

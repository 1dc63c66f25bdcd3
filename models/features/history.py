"""What has been between each user and each item, and what became of each item: behind item and pair features."""

from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, PURCHASE, QUANTITY, REFUND, USER_KEY, VALUE
from models.features.rows import BASKET, DAY, Frame, Keep, as_is, halved, known, one_if, purchases

WINDOWS: Final = (7, 28, 365)
"""Days of the popularity features."""
HALF_LIVES: Final = (7, 30, 90, 365)
"""Days in which the decayed counts of baskets halve."""

_NO_ACT: Final = ("impression", REFUND)
"""What the user did not do: being shown an item makes no history with it."""
_POPULARITY: Final = tuple(f"popularity_{days}d" for days in WINDOWS)
_DECAYED: Final = tuple(f"decayed_{days}d" for days in HALF_LIVES)
_OTHER: Final = ("views_7d", "views_28d", "carts_28d")


def history(events: Frame, now: int, keep: Keep = as_is) -> Frame:
    """One row per user and item between whom anything but an impression is known at `now` (epoch s).

    user_key, item_id, baskets, the decayed counts, views_7d; own_gap_days; and moments: `_first_basket`, `_last` and
    the latest `_viewed`, `_carted` and `_removed`. Few columns on purpose: there is a row for nearly every event.
    """
    counts = ("baskets", "views_7d")
    moments = nw.col("_last", "_viewed", "_carted", "_removed").max()
    pairs = _rows(events, now, keep).group_by(USER_KEY, ITEM_ID)
    made = pairs.agg(nw.col(*counts, *_DECAYED).sum(), nw.col("_first_basket").min(), moments)
    baskets, days = nw.col("baskets"), (nw.col("_last") - nw.col("_first_basket")) / DAY
    return made.with_columns(nw.col(*counts).cast(nw.Int64)).with_columns(
        nw.when(baskets > 1).then(days / (baskets - 1)).alias("own_gap_days")
    )


def sales(events: Frame, now: int, keep: Keep = as_is) -> Frame:
    """One row per item with such a history: the popularity windows, views_28d, carts_28d, quantity, value and `_first`,
    the moment of its first purchase row."""
    counts = (*_POPULARITY, "views_28d", "carts_28d")
    items = (
        _rows(events, now, keep).group_by(ITEM_ID).agg(nw.col(*counts, QUANTITY, VALUE).sum(), nw.col("_first").min())
    )
    return items.with_columns(nw.col(*counts).cast(nw.Int64))


def _rows(events: Frame, now: int, keep: Keep) -> Frame:
    grouped = keep(lambda: _grouped(events, now), f"baskets {now}")
    return nw.concat([_baskets(grouped, now), _looks(events, now)], how="vertical")


def _grouped(events: Frame, now: int) -> Frame:
    """One row per user, item and basket. Several rows of the item in one basket count once, at the latest."""
    at, rows = nw.col(OCCURRED_AT), purchases(events, now).group_by(USER_KEY, ITEM_ID, BASKET)
    sums = nw.col(QUANTITY, VALUE).sum()
    return rows.agg(at.max().alias("_last"), at.min().alias("_first"), sums).drop(BASKET)


def _baskets(grouped: Frame, now: int) -> Frame:
    """The baskets, in the columns of `_looks`."""
    last = nw.col("_last")
    nothing, never = nw.lit(0, nw.Int64), nw.when(last < last).then(last)
    return grouped.select(
        USER_KEY,
        ITEM_ID,
        nw.lit(1, nw.Int64).alias("baskets"),
        *(one_if(last >= now - days * DAY).alias(name) for days, name in zip(WINDOWS, _POPULARITY, strict=True)),
        *(halved(now, "_last", days).alias(name) for days, name in zip(HALF_LIVES, _DECAYED, strict=True)),
        *(nothing.alias(name) for name in _OTHER),
        nw.col(QUANTITY).cast(nw.Float64),
        nw.col(VALUE).cast(nw.Float64),
        "_first",
        last.alias("_first_basket"),
        "_last",
        never.alias("_viewed"),
        never.alias("_carted"),
        never.alias("_removed"),
    )


def _looks(events: Frame, now: int) -> Frame:
    """The other events, in the columns of `_baskets`."""
    at, kind = nw.col(OCCURRED_AT), nw.col(EVENT_TYPE)
    viewed, carted, removed = kind == "view", kind == "add_to_cart", kind == "remove_from_cart"
    nothing, never = nw.lit(0, nw.Int64), nw.when(at < at).then(at)
    return (
        known(events, now)
        .filter(~kind.is_in([*_NO_ACT, PURCHASE]))
        .select(
            USER_KEY,
            ITEM_ID,
            *(nothing.alias(name) for name in ("baskets", *_POPULARITY)),
            *(nw.lit(0.0).alias(name) for name in _DECAYED),
            one_if(viewed & (at >= now - 7 * DAY)).alias("views_7d"),
            one_if(viewed & (at >= now - 28 * DAY)).alias("views_28d"),
            one_if(carted & (at >= now - 28 * DAY)).alias("carts_28d"),
            nw.lit(0.0).alias(QUANTITY),
            nw.lit(0.0).alias(VALUE),
            *(never.alias(name) for name in ("_first", "_first_basket", "_last")),
            nw.when(viewed).then(at).alias("_viewed"),
            nw.when(carted).then(at).alias("_carted"),
            nw.when(removed).then(at).alias("_removed"),
        )
    )

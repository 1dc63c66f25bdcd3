"""Aggregate the history of each user with each item, and of each item: the base of item and pair features."""

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
"""Half-lives of the decayed counts of baskets, in days."""

_NO_ACTION: Final = ("impression", REFUND)
"""Event types that are no action of the user: an impression makes no history with an item."""
_POPULARITY: Final = tuple(f"popularity_{days}d" for days in WINDOWS)
_DECAYED: Final = tuple(f"decayed_{days}d" for days in HALF_LIVES)


def history(events: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per user and item with an event other than an impression known at `now` (epoch s).

    Columns: user_key, item_id, baskets, the decayed counts, views_7d, own_gap_days; and moments: `_first_basket`,
    `_last` and the latest `_viewed`, `_carted` and `_removed`. There is a row for nearly every event, so columns are
    few.
    """
    last, pair = nw.col("_last"), (USER_KEY, ITEM_ID)
    decayed = (
        exponential_decay(now, "_last", days).alias(name) for days, name in zip(HALF_LIVES, _DECAYED, strict=True)
    )
    bought = _baskets(events, now, materialize).with_columns(last.alias("_first_basket"), *decayed).group_by(*pair)
    visited = _visits(events, now).group_by(*pair)
    whole = _joined(
        bought.agg(nw.len().alias("baskets"), nw.col(*_DECAYED).sum(), nw.col("_first_basket").min(), last.max()),
        visited.agg(nw.col("views_7d").sum(), nw.col("_viewed", "_carted", "_removed").max()),
        *pair,
    )
    baskets, days = nw.col("baskets"), (last - nw.col("_first_basket")) / DAY
    return whole.with_columns(
        nw.col("baskets", "views_7d").fill_null(0).cast(nw.Int64), nw.col(*_DECAYED).fill_null(0.0)
    ).with_columns(nw.when(baskets > 1).then(days / (baskets - 1)).alias("own_gap_days"))


def sales(events: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per item with history: popularity windows, views_28d, carts_28d and sales.

    Sales are quantity, value and `_first`, the moment of the first purchase row.
    """
    visits = ("views_28d", "carts_28d")
    popular = (
        indicator(nw.col("_last") >= now - days * DAY).alias(name)
        for days, name in zip(WINDOWS, _POPULARITY, strict=True)
    )
    whole = _joined(
        _baskets(events, now, materialize).with_columns(*popular).group_by(ITEM_ID).agg(nw.col(*_POPULARITY).sum()),
        _visits(events, now).group_by(ITEM_ID).agg(nw.col(*visits).sum()),
        ITEM_ID,
    )
    counts = nw.col(*_POPULARITY, *visits).fill_null(0).cast(nw.Int64)
    totals = materialize(lambda: sold(events, now), f"sold {now}")
    return whole.with_columns(counts).join(totals, on=ITEM_ID, how="left")


def _baskets(events: Frame, now: int, materialize: Materialize) -> Frame:
    """Return one row per user, item and basket, with the latest time of its rows."""

    def baskets() -> Frame:
        rows = purchases(events, now).group_by(USER_KEY, ITEM_ID, BASKET)
        return rows.agg(nw.col(OCCURRED_AT).max().alias("_last")).drop(BASKET)

    return materialize(baskets, f"baskets {now}")


def _visits(events: Frame, now: int) -> Frame:
    """Return views and changes of the cart, with the counts and times of each."""
    at, kind = nw.col(OCCURRED_AT), nw.col(EVENT_TYPE)
    viewed, carted, removed = kind == "view", kind == "add_to_cart", kind == "remove_from_cart"
    return (
        known(events, now)
        .filter(~kind.is_in([*_NO_ACTION, PURCHASE]))
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


def _joined(bought: Frame, visited: Frame, *keys: str) -> Frame:
    """Join purchases and visits, which are aggregated separately because that needs less memory."""
    both = bought.join(visited, on=list(keys), how="full", suffix="_visited")
    keyed = both.with_columns(nw.coalesce(key, f"{key}_visited").alias(key) for key in keys)
    return keyed.drop(*(f"{key}_visited" for key in keys))

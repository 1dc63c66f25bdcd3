"""Compute item features: popularity, season, price, age, repurchases, conversions; and features of user-item pairs."""

from typing import Final

import narwhals as nw

from models.columns import (
    BRAND,
    CATEGORY,
    EVENT_TYPE,
    ITEM_ID,
    OCCURRED_AT,
    PRICE,
    PURCHASE,
    QUANTITY,
    REFUND,
    USER_KEY,
    VALUE,
)
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES
from models.features.expressions import (
    BASKET,
    Frame,
    Materialize,
    days_before,
    exponential_decay,
    indicator,
    known,
    no_cache,
    orders,
    purchases,
    sold,
)
from models.primitives.time import DAY, SEASON_DAYS, YEAR_DAYS

DEPARTMENT: Final = "_department"
"""The top level of a category path."""
PRICE_RANK: Final = "price_rank"


def catalogue_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per catalogue item with an event known at `now`: item_id, category, `_department`, brand, rank.

    `items` is the catalogue as known at `now`. An item without a listed price uses the mean price paid for it until
    then.
    """
    paid = mean_prices(materialize(lambda: sold(events, now), f"sold {now}"))
    counts = materialize(lambda: known(events, now).group_by(ITEM_ID).agg(nw.len().alias("_events")), f"items {now}")
    active = items.select(ITEM_ID, CATEGORY, BRAND, PRICE).join(counts.select(ITEM_ID), on=ITEM_ID, how="inner")
    listed = active.join(paid, on=ITEM_ID, how="left")
    priced = listed.with_columns(nw.coalesce(nw.col(PRICE).cast(nw.Float64), "mean_price").alias(PRICE))
    return priced.select(ITEM_ID, CATEGORY, _department(), BRAND, _rank().alias(PRICE_RANK))


def departments(items: Frame) -> Frame:
    """Return item_id and the top-level category of each catalogue item."""
    return items.select(ITEM_ID, _department())


def numbered(column: str) -> nw.Expr:
    """Return the alphabetical rank of the names in `column`, from 1: numbers are cheaper to join and group by."""
    return nw.col(column).rank("dense").cast(nw.Int64)


def mean_prices(sold: Frame) -> Frame:
    """Return item_id and mean_price, the money by the pieces `sold`; null if no piece was sold."""
    pieces, money = nw.col(QUANTITY), nw.col(VALUE)
    return sold.select(ITEM_ID, nw.when(pieces > 0).then(money / pieces).alias("mean_price"))


def _rank() -> nw.Expr:
    """Return 0 for the cheapest item of a category, 1 for the most expensive; equal prices share their mean rank.

    Money is summed in any order, so prices that differ by less than a millionth are equal.
    """
    millionths = nw.col(PRICE) * 1e6 + 0.5
    rank = (millionths - millionths % 1).rank("average").over(CATEGORY)
    others = nw.col(PRICE).count().over(CATEGORY) - 1
    ranked = ~nw.col(CATEGORY).is_null() & ~nw.col(PRICE).is_null()
    return nw.when(ranked & (others > 0)).then((rank - 1) / others).otherwise(nw.when(ranked).then(0.5))


def _department() -> nw.Expr:
    return nw.col(CATEGORY).str.replace_all(r"\|.*", "").alias(DEPARTMENT)


WINDOWS: Final = (7, 28, 365)
"""Days of the popularity features."""
HALF_LIVES: Final = (7, 30, 90, 365)
"""Half-lives of the decayed counts of baskets, in days."""

_NO_ACTION: Final = ("impression", REFUND)
"""Event types that are no action of the user: an impression makes no history with an item."""
_POPULARITY: Final = tuple(f"popularity_{days}d" for days in WINDOWS)
_YEAR_AGO: Final = "_year_ago"
"""Baskets in the days that follow the moment, a year ago."""
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
    """Return one row per item with history: popularity windows, `_year_ago`, views_28d, carts_28d and sales.

    Sales are quantity, value and `_first`, the moment of the first purchase row.
    """
    visits, bought, last = ("views_28d", "carts_28d"), (*_POPULARITY, _YEAR_AGO), nw.col("_last")
    year_ago = now - YEAR_DAYS * DAY
    season = (last >= year_ago) & (last < year_ago + SEASON_DAYS * DAY)
    windows = (*(last >= now - days * DAY for days in WINDOWS), season)
    popular = (indicator(window).alias(name) for window, name in zip(windows, bought, strict=True))
    whole = _joined(
        _baskets(events, now, materialize).with_columns(*popular).group_by(ITEM_ID).agg(nw.col(*bought).sum()),
        _visits(events, now).group_by(ITEM_ID).agg(nw.col(*visits).sum()),
        ITEM_ID,
    )
    counts = nw.col(*bought, *visits).fill_null(0).cast(nw.Int64)
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


SMOOTHING: Final = 10
"""Users at the mean rate of the shop that are added to those of each item to smooth a conversion; and baskets at the
index of the level above that are added to those of an item or a category to smooth its index."""

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
    categories = places.select(ITEM_ID, CATEGORY, DEPARTMENT, PRICE_RANK)
    pieces, money, week, month = (nw.col(name) for name in (QUANTITY, VALUE, "popularity_7d", "popularity_28d"))
    buyers = nw.col("distinct_users")
    features = _seasonal(counted.join(categories, on=ITEM_ID, how="left"), now).with_columns(
        ((week + 1) / (month / 4 + 1)).alias("trend"),
        nw.when(pieces > 0).then(money / pieces).alias("mean_price"),
        days_before(now, "_first").alias("age_days"),
        nw.when(buyers > 0).then(nw.col("_again") / buyers).alias("repurchase_rate"),
        *(_conversion(base, converted).alias(name) for name, (base, converted) in _CONVERSIONS.items()),
    )
    return features.select(ITEM_ID, *(feature.name for feature in ITEM_FEATURES))


def _seasonal(counted: Frame, now: int) -> Frame:
    """Return the counts of items with their shares a year ago, their seasonal indexes and their categories' trends."""
    begin, ago = now - YEAR_DAYS * DAY, nw.col(_YEAR_AGO)
    names = ("_department_index", "category_seasonal_index", "seasonal_index")
    frame = _indexed(counted, _YEAR_AGO, begin + SEASON_DAYS * DAY, names)
    frame = _indexed(frame, "popularity_28d", now, ("_department_trend", "category_trend"))
    old_enough, categorized = nw.col("_first").min() <= begin, ~nw.col(CATEGORY).is_null()
    shared = old_enough & (ago.sum() > 0)
    return frame.with_columns(
        nw.when(shared).then(ago / ago.sum()).alias("share_year_ago"),
        nw.when(shared & categorized).then(ago.sum().over(CATEGORY) / ago.sum()).alias("category_share_year_ago"),
        nw.when(old_enough).then(nw.col("seasonal_index")).alias("seasonal_index"),
        nw.when(old_enough & categorized).then(nw.col("category_seasonal_index")).alias("category_seasonal_index"),
        nw.when(categorized).then(nw.col("category_trend")).alias("category_trend"),
    )


def _indexed(frame: Frame, count: str, until: int, names: tuple[str, ...]) -> Frame:
    """Return the frame with indexes of the top-level category, of the path and of the item, under `names`.

    An index is the share in `count` over the share in 365 days. It is smoothed towards the one before it, the first one
    towards 1; without a category, or without a purchase before `until`, it is the one before it.
    """
    counts, year, above = nw.col(count), nw.col("popularity_365d"), nw.lit(1.0)
    for level, name in zip((DEPARTMENT, CATEGORY, ITEM_ID), names, strict=False):
        expected = year.sum().over(level) * counts.sum() / year.sum()
        index = (counts.sum().over(level) + SMOOTHING * above) / (expected + SMOOTHING)
        was_sold = ~nw.col(level).is_null() & (nw.col("_first").min().over(level) < until) & (year.sum() > 0)
        frame = frame.with_columns(nw.when(was_sold).then(index).otherwise(above).alias(name))
        above = nw.col(name)
    return frame


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


def pair_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per user and item with history known at `now` (epoch s), with `PAIR_FEATURES`. Stays lazy.

    `items` is the catalogue: item_id, category. Impressions make no history.
    """
    pairs = materialize(lambda: history(events, now, materialize), f"history {now}")
    with_department = pairs.join(_departments(items), on=ITEM_ID, how="left")
    whole = (
        with_department.join(repurchase_gaps(pairs), on=ITEM_ID, how="left")
        .join(materialize(lambda: orders(events, now), f"orders {now}"), on=USER_KEY, how="left")
        .join(_department_purchases(with_department), on=[USER_KEY, DEPARTMENT], how="left")
    )
    known = whole.with_columns(
        days_before(now, "_last").alias("days_since_last"),
        days_before(now, "_department_last").alias("category_recency_days"),
        (nw.col("baskets") / nw.col("frequency")).alias("basket_share"),
        _carted().alias("carted"),
    ).with_columns(_due().alias("due"))
    return known.select(USER_KEY, ITEM_ID, *(feature.name for feature in PAIR_FEATURES))


def _departments(items: Frame) -> Frame:
    """Return item_id and its top-level category as a number, for items that have one."""
    with_department = departments(items).filter(~nw.col(DEPARTMENT).is_null())
    return with_department.select(ITEM_ID, numbered(DEPARTMENT).alias(DEPARTMENT))


def _department_purchases(with_department: Frame) -> Frame:
    """Return the time of each user's last purchase in each top-level category."""
    bought = with_department.filter(~nw.col(DEPARTMENT).is_null(), nw.col("baskets") > 0)
    return bought.group_by(USER_KEY, DEPARTMENT).agg(nw.col("_last").max().alias("_department_last"))


def _due() -> nw.Expr:
    """Return the time since the last purchase by the usual gap: the user's, else the item's, at least a day."""
    gap = nw.coalesce("own_gap_days", "repurchase_gap_days")
    return (
        nw.when(gap > 1)
        .then(nw.col("days_since_last") / gap)
        .otherwise(nw.when(~gap.is_null()).then(nw.col("days_since_last")))
    )


def _carted() -> nw.Expr:
    """Return 1 while the cart holds the item. An item bought or removed in the same second is not in the cart."""
    carted = nw.col("_carted")
    bought, removed = ((nw.col(name) >= carted).fill_null(False) for name in ("_last", "_removed"))
    return indicator(~carted.is_null() & ~bought & ~removed)

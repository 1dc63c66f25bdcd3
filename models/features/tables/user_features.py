"""Compute user features: recency, frequency, monetary value (Hughes 1994), visits, preferences; and sequences.

The half-hour is the unit of visits: events within one are never half an hour apart, so half-hours are enough to
separate sessions, and there are far fewer half-hours than events.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

import narwhals as nw

from models.columns import BRAND, EVENT_TYPE, ITEM_ID, OCCURRED_AT, POSITION, REFUND, USER_KEY, VALUE
from models.features.definitions import USER_FEATURES
from models.features.expressions import (
    ORDER,
    Frame,
    Materialize,
    days_before,
    exponential_decay,
    indicator,
    known,
    no_cache,
    orders,
    purchases,
)
from models.features.tables.item_features import DEPARTMENT, PRICE_RANK, catalogue_features, numbered
from models.primitives.time import DAY

LENGTH: Final = 50
ACTS: Final = ("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "rating", "like")
"""Event types of a sequence: actions of the user that show interest."""
SESSION_GAP: Final = 1_800
"""Seconds without an event after which the next one opens another session."""
HALF_LIFE: Final = 30
"""Half-life of engagement in days."""
ENGAGEMENT: Final = (
    (10.0, ("purchase",)),
    (4.0, ("add_to_cart",)),
    (3.0, ("like", "wishlist")),
    (2.0, ("consume", "rating")),
    (1.0, ("click", "view")),
)
"""The engagement that an event of each type adds at its moment. Types that are not listed add nothing."""

_HOUR: Final = 3_600
_WEEK: Final = 7 * DAY
_SATURDAY: Final = 2 * DAY  # the epoch began on a Thursday
_MONDAY: Final = 4 * DAY


def visits(events: Frame, now: int) -> Frame:
    """Return one row per user: sessions, their length, engagement and the habits of time."""
    counts = ("_halves", "_events", "_evening", "_weekend", "sessions", "_seconds")
    sums = _hours(events, now).group_by(USER_KEY).agg(nw.col(*counts, "engagement").sum(), nw.col("_favourite").max())
    whole = sums.with_columns(nw.col(*counts).cast(nw.Int64))  # DuckDB returns sums of integers as decimals
    return whole.select(
        USER_KEY,
        "sessions",
        (nw.col("_seconds") / nw.col("sessions") / 60).alias("mean_session_minutes"),
        (nw.col("_events") / nw.col("sessions")).alias("events_per_session"),
        "engagement",
        (nw.col("_evening") / nw.col("_halves")).alias("evening_share"),
        (nw.col("_weekend") / nw.col("_halves")).alias("weekend_share"),
        ((DAY - _HOUR - nw.col("_favourite") % DAY) / _HOUR).cast(nw.Int64).alias("favourite_hour"),
    )


def _half_hours(events: Frame, now: int) -> Frame:
    """Return one row per user and half-hour with an event. A refund does not count: the shop books it."""
    at = nw.col(OCCURRED_AT)
    acts = known(events, now).filter(nw.col(EVENT_TYPE) != REFUND)
    weighed = acts.select(
        USER_KEY,
        OCCURRED_AT,
        (at - at % SESSION_GAP).alias("_half"),
        (_weight() * exponential_decay(now, OCCURRED_AT, HALF_LIFE)).alias("engagement"),
    )
    return weighed.group_by(USER_KEY, "_half").agg(
        at.min().alias("_from"), at.max().alias("_to"), nw.len().alias("_events"), nw.col("engagement").sum()
    )


def _hours(events: Frame, now: int) -> Frame:
    """Return one row per user and hour of the day; `_favourite` is largest for the earliest of the busiest hours."""
    half, gap = nw.col("_half"), nw.col("_from") - nw.col("_to").shift(1).over(USER_KEY, order_by="_half")
    spent = nw.col("_to") - nw.col("_from")
    whole = _half_hours(events, now).with_columns(gap.alias("_gap"), (half % DAY - half % _HOUR).alias("_hour"))
    continued = whole.with_columns((nw.col("_gap") < SESSION_GAP).fill_null(False).alias("_continues"))
    marked = continued.with_columns(
        indicator(~nw.col("_continues")).alias("sessions"),
        (spent + nw.when("_continues").then(nw.col("_gap")).otherwise(0)).alias("_seconds"),
        indicator(nw.col("_hour") >= 18 * _HOUR).alias("_evening"),
        indicator((half % _WEEK >= _SATURDAY) & (half % _WEEK < _MONDAY)).alias("_weekend"),
    )
    sums = nw.col("_events", "_evening", "_weekend", "sessions", "_seconds", "engagement").sum()
    hours = marked.group_by(USER_KEY, "_hour").agg(nw.len().alias("_halves"), sums)
    return hours.with_columns((nw.col("_halves") * DAY + (DAY - _HOUR - nw.col("_hour"))).alias("_favourite"))


def _weight() -> nw.Expr:
    """Return the weight of the type of an event."""

    def otherwise(default: nw.Expr, weighed: tuple[float, tuple[str, ...]]) -> nw.Expr:
        weight, types = weighed
        return nw.when(nw.col(EVENT_TYPE).is_in(types)).then(nw.lit(weight)).otherwise(default)

    return reduce(otherwise, ENGAGEMENT, nw.lit(0.0))


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


def sequences(events: Frame, now: int, length: int = LENGTH, event_types: Sequence[str] = ACTS) -> Frame:
    """Return the last `length` events of each user, known at `now` (epoch s), in `ORDER`. Stays lazy.

    Columns: user_key, position (0 = the oldest that remains), item_id, event_type, occurred_at.
    """
    acts = known(events, now).filter(nw.col(EVENT_TYPE).is_in(event_types)).select(USER_KEY, *ORDER)
    at = nw.col(OCCURRED_AT)
    place = at.cum_count().over(USER_KEY, order_by=ORDER)
    # Both use the same rows: the engine reads them once.
    counted = acts.with_columns(place.alias(POSITION), at.count().over(USER_KEY).alias("_all"))
    excess = nw.when(nw.col("_all") > length).then(nw.col("_all") - length).otherwise(0)
    numbered = counted.with_columns((nw.col(POSITION) - 1 - excess).cast(nw.Int64).alias(POSITION))
    return numbered.filter(nw.col(POSITION) >= 0).select(USER_KEY, POSITION, ITEM_ID, EVENT_TYPE, OCCURRED_AT)

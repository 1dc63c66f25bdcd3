"""Compute session features of users: sessions, engagement, and the hours and days of their visits.

The half-hour is the unit: events within one are never half an hour apart, so half-hours are enough to separate
sessions, and there are far fewer half-hours than events.
"""

from functools import reduce
from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, OCCURRED_AT, REFUND, USER_KEY
from models.features.expressions import Frame, exponential_decay, indicator, known
from models.primitives.time import DAY

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

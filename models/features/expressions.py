"""Define expressions that all features share: events known at a moment, their baskets, and decay over time.

Times are integer epoch seconds (UTC), because the engines agree only about integers.
"""

from collections.abc import Callable
from math import log
from typing import Any, Final

import narwhals as nw

from models.columns import (
    EVENT_TYPE,
    ITEM_ID,
    OCCURRED_AT,
    PURCHASE,
    QUANTITY,
    RECEIVED_AT,
    REFUNDED_AT,
    SESSION_ID,
    USER_KEY,
    VALUE,
)
from models.primitives.time import DAY

Frame = nw.LazyFrame[Any]
Materialize = Callable[[Callable[[], Frame], str], Frame]
"""Stores a frame that is read several times, in the form that suits the engine: a table or a cache. For a name that is
stored already it returns the stored frame; the name includes the moment."""

BASKET: Final = "_basket"
ORDER: Final = (OCCURRED_AT, ITEM_ID, EVENT_TYPE)
"""The order of events: by time, and within one moment by item and type, never by the order of rows."""


def known(events: Frame, now: int) -> Frame:
    """Return the events that had happened and had been received before `now` (epoch s), which is excluded.

    A purchase counts unless its refund was known before `now`.
    """
    happened = events.filter(nw.col(OCCURRED_AT) < now, nw.col(RECEIVED_AT) < now)
    if REFUNDED_AT not in events.collect_schema().names():
        return happened
    return happened.filter(nw.col(REFUNDED_AT).is_null() | (nw.col(REFUNDED_AT) >= now))


def not_refunded(events: Frame) -> Frame:
    """Return the events without purchases that were refunded at any time."""
    known_refunds = REFUNDED_AT in events.collect_schema().names()
    return events.filter(nw.col(REFUNDED_AT).is_null()) if known_refunds else events


def purchases(events: Frame, now: int) -> Frame:
    """Return the purchases known at `now`, each with its basket: the session, or its moment without one."""
    moment = nw.col(OCCURRED_AT).cast(nw.String)
    bought = known(events, now).filter(nw.col(EVENT_TYPE) == PURCHASE)
    return bought.with_columns(nw.coalesce(nw.col(SESSION_ID), moment).alias(BASKET))


def orders(events: Frame, now: int) -> Frame:
    """Return one row per buyer: user_key and frequency, the number of different baskets known at `now`."""
    baskets = purchases(events, now).group_by(USER_KEY, BASKET).agg(nw.len())
    return baskets.group_by(USER_KEY).agg(nw.len().alias("frequency"))


def sold(events: Frame, now: int) -> Frame:
    """Return one row per item bought before `now`: item_id, total quantity and value, and `_first`, its first time."""
    return (
        purchases(events, now)
        .group_by(ITEM_ID)
        .agg(nw.col(QUANTITY, VALUE).sum(), nw.col(OCCURRED_AT).min().alias("_first"))
    )


def days_before(now: int, column: str) -> nw.Expr:
    """Return the days from the moment in `column` to `now`, with fractions."""
    return (now - nw.col(column)) / DAY


def exponential_decay(now: int, column: str, half_life: int) -> nw.Expr:
    """Return a weight of 1 at `now` that halves for every `half_life` days that `column` lies before it."""
    return ((nw.col(column) - now) * (log(2) / (half_life * DAY))).exp()


def indicator(condition: nw.Expr) -> nw.Expr:
    """Return 1 if the condition holds, 0 if it does not or is null: its sum counts rows on every engine."""
    return nw.when(condition).then(nw.lit(1, nw.Int64)).otherwise(nw.lit(0, nw.Int64))


def no_cache(frame: Callable[[], Frame], _name: str) -> Frame:
    """Return the frame without storing it: the engine may compute it again for every use."""
    return frame()

"""What all features share: which events are known at a moment, their baskets, and how time counts.

Times are epoch seconds (UTC) in integers, for the engines agree about integers only.
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
"""Stores a frame that is read several times, as the engine at hand does it best: a table, a cache. Of a name that is
kept already it gives what is there, and does not ask for the frame again: the name says the moment too."""

BASKET: Final = "_basket"
ORDER: Final = (OCCURRED_AT, ITEM_ID, EVENT_TYPE)
"""Events in order of time, and those of one moment by item and type: never by the order of rows."""


def known(events: Frame, now: int) -> Frame:
    """The events that had happened and had been received before `now` (epoch s). One at `now` belongs to after.

    A purchase counts unless it was known before `now` that it was taken back.
    """
    happened = events.filter(nw.col(OCCURRED_AT) < now, nw.col(RECEIVED_AT) < now)
    if REFUNDED_AT not in events.collect_schema().names():
        return happened
    return happened.filter(nw.col(REFUNDED_AT).is_null() | (nw.col(REFUNDED_AT) >= now))


def standing(events: Frame) -> Frame:
    """The events without the purchases that were taken back, whenever that was known."""
    known_refunds = REFUNDED_AT in events.collect_schema().names()
    return events.filter(nw.col(REFUNDED_AT).is_null()) if known_refunds else events


def purchases(events: Frame, now: int) -> Frame:
    """The purchases known at `now`, each with its basket: the session, or its moment without one."""
    moment = nw.col(OCCURRED_AT).cast(nw.String)
    bought = known(events, now).filter(nw.col(EVENT_TYPE) == PURCHASE)
    return bought.with_columns(nw.coalesce(nw.col(SESSION_ID), moment).alias(BASKET))


def orders(events: Frame, now: int) -> Frame:
    """One row per buyer: user_key and frequency, the number of different baskets known at `now`."""
    baskets = purchases(events, now).group_by(USER_KEY, BASKET).agg(nw.len())
    return baskets.group_by(USER_KEY).agg(nw.len().alias("frequency"))


def sold(events: Frame, now: int) -> Frame:
    """One row per item with a purchase known at `now`: item_id, quantity and value in all, and `_first`, when."""
    return (
        purchases(events, now)
        .group_by(ITEM_ID)
        .agg(nw.col(QUANTITY, VALUE).sum(), nw.col(OCCURRED_AT).min().alias("_first"))
    )


def days_before(now: int, column: str) -> nw.Expr:
    """Days from the moment in `column` to `now`, with fractions."""
    return (now - nw.col(column)) / DAY


def exponential_decay(now: int, column: str, half_life: int) -> nw.Expr:
    """What counts 1 at `now` counts half of it for every `half_life` days that `column` lies back."""
    return ((nw.col(column) - now) * (log(2) / (half_life * DAY))).exp()


def indicator(condition: nw.Expr) -> nw.Expr:
    """1 where the condition holds, 0 where it does not or nobody knows: sums of it count rows on every engine."""
    return nw.when(condition).then(nw.lit(1, nw.Int64)).otherwise(nw.lit(0, nw.Int64))


def no_cache(frame: Callable[[], Frame], _name: str) -> Frame:
    """Keeps nothing: the engine may work the frame out again for every use."""
    return frame()

"""What user and item features share: the days and baskets of events, in verbs that all engines share."""

from typing import Any, Final

import narwhals as nw

from models.columns import OCCURRED_AT, SESSION_ID

DAY: Final = 86_400
BASKET: Final = "_basket"


def before(events: nw.LazyFrame[Any], now: int) -> nw.LazyFrame[Any]:
    """The events known at `now` (epoch s), each with its basket: the session, or its moment without one."""
    moment = nw.col(OCCURRED_AT).cast(nw.String)
    return events.filter(nw.col(OCCURRED_AT) < now).with_columns(nw.coalesce(nw.col(SESSION_ID), moment).alias(BASKET))


def days_before(now: int, column: str) -> nw.Expr:
    """Days from the moment in `column` to `now`, with fractions."""
    return (now - nw.col(column)) / DAY

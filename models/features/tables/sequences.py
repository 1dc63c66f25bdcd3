"""Return the latest events of each user in order, as flat rows for the sequence model."""

from collections.abc import Sequence
from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, POSITION, USER_KEY
from models.features.expressions import ORDER, Frame, known

LENGTH: Final = 50
ACTS: Final = ("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "rating", "like")
"""Event types of a sequence: actions of the user that show interest."""


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

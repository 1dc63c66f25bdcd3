"""What each user did last, in order, as flat rows for the sequence model."""

from collections.abc import Sequence
from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, POSITION, USER_KEY
from models.features.expressions import ORDER, Frame, known

LENGTH: Final = 50
ACTS: Final = ("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "rating", "like")
"""Event types of a sequence: what users did themselves, and with liking for all we know."""


def sequences(events: Frame, now: int, length: int = LENGTH, event_types: Sequence[str] = ACTS) -> Frame:
    """The last `length` events of each user, known at `now` (epoch s), in `ORDER`. Stays lazy.

    user_key, position (0 = the oldest of those kept), item_id, event_type, occurred_at.
    """
    acts = known(events, now).filter(nw.col(EVENT_TYPE).is_in(event_types)).select(USER_KEY, *ORDER)
    at = nw.col(OCCURRED_AT)
    place = at.cum_count().over(USER_KEY, order_by=ORDER)
    # Both over the same rows: the engine goes through them once.
    counted = acts.with_columns(place.alias(POSITION), at.count().over(USER_KEY).alias("_all"))
    left_out = nw.when(nw.col("_all") > length).then(nw.col("_all") - length).otherwise(0)
    kept = counted.with_columns((nw.col(POSITION) - 1 - left_out).cast(nw.Int64).alias(POSITION))
    return kept.filter(nw.col(POSITION) >= 0).select(USER_KEY, POSITION, ITEM_ID, EVENT_TYPE, OCCURRED_AT)

"""What each user did last, in order, as flat rows for the sequence model."""

from collections.abc import Sequence
from typing import Final

import narwhals as nw

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, POSITION, SESSION_ID, USER_KEY
from models.features.rows import ORDER, Frame, known

LENGTH: Final = 50
ACTS: Final = ("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "rating", "like")
"""Event types of a sequence: what users did themselves, and with liking for all we know."""


def sequences(events: Frame, now: int, length: int = LENGTH, event_types: Sequence[str] = ACTS) -> Frame:
    """The last `length` events of each user, known at `now` (epoch s), in `ORDER`. Stays lazy.

    user_key, position (0 = the oldest of those kept), item_id, event_type, occurred_at.
    """
    acts = known(events, now).filter(nw.col(EVENT_TYPE).is_in(event_types))
    one = acts.select(USER_KEY, *ORDER).with_columns(
        nw.col(SESSION_ID).fill_null("").alias(SESSION_ID), nw.lit(1).alias("_one")
    )
    back = nw.col("_one").cum_sum(reverse=True).over(USER_KEY, order_by=ORDER)
    kept = one.with_columns(back.alias("_back")).filter(nw.col("_back") <= length)
    place = nw.col("_back").max().over(USER_KEY) - nw.col("_back")
    return kept.select(USER_KEY, place.cast(nw.Int64).alias(POSITION), ITEM_ID, EVENT_TYPE, OCCURRED_AT)

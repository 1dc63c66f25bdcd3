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
    # Both over the same rows in the same order: the engine goes through them once.
    left_out = nw.col("_one").sum().over(USER_KEY) - length
    place = nw.col("_one").cum_sum().over(USER_KEY, order_by=ORDER) - 1
    counted = one.with_columns(place.alias(POSITION), left_out.alias("_left_out"))
    since = nw.when(nw.col("_left_out") > 0).then(nw.col("_left_out")).otherwise(0)
    kept = counted.with_columns((nw.col(POSITION) - since).cast(nw.Int64).alias(POSITION)).filter(nw.col(POSITION) >= 0)
    return kept.select(USER_KEY, POSITION, ITEM_ID, EVENT_TYPE, OCCURRED_AT)

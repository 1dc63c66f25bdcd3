"""Where an item stands in the catalogue: its top-level category, its brand, and how dear it is among its like."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, CATEGORY, ITEM_ID, PRICE, QUANTITY, VALUE
from models.features.expressions import Frame, Materialize, known, no_cache, sold

DEPARTMENT: Final = "_department"
"""The top level of a category path."""
PRICE_RANK: Final = "price_rank"


def shelf(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """One row per item of the catalogue with an event known at `now`: item_id, `_department`, brand, price_rank.

    `items` is the catalogue as it was known at `now`. An item without a listed price goes by the mean price paid for
    it, as far as that is known then.
    """
    paid = mean_prices(materialize(lambda: sold(events, now), f"sold {now}"))
    there = materialize(lambda: known(events, now).group_by(ITEM_ID).agg(nw.len().alias("_events")), f"items {now}")
    seen = items.select(ITEM_ID, CATEGORY, BRAND, PRICE).join(there.select(ITEM_ID), on=ITEM_ID, how="inner")
    listed = seen.join(paid, on=ITEM_ID, how="left")
    priced = listed.with_columns(nw.coalesce(nw.col(PRICE).cast(nw.Float64), "mean_price").alias(PRICE))
    return priced.select(ITEM_ID, _department(), BRAND, _rank().alias(PRICE_RANK))


def departments(items: Frame) -> Frame:
    """item_id and the top-level category of each item of the catalogue."""
    return items.select(ITEM_ID, _department())


def numbered(column: str) -> nw.Expr:
    """The names in `column` by their place in the alphabet, from 1: numbers are cheaper to join and group by."""
    return nw.col(column).rank("dense").cast(nw.Int64)


def mean_prices(sold: Frame) -> Frame:
    """item_id and mean_price, the money taken by the pieces `sold`; null where no piece was sold."""
    pieces, money = nw.col(QUANTITY), nw.col(VALUE)
    return sold.select(ITEM_ID, nw.when(pieces > 0).then(money / pieces).alias("mean_price"))


def _rank() -> nw.Expr:
    """0 for the cheapest of a category, 1 for the dearest; equal prices share their mean rank.

    Money is summed in any order, so prices count as equal to a millionth.
    """
    millionths = nw.col(PRICE) * 1e6 + 0.5
    rank = (millionths - millionths % 1).rank("average").over(CATEGORY)
    others = nw.col(PRICE).count().over(CATEGORY) - 1
    there = ~nw.col(CATEGORY).is_null() & ~nw.col(PRICE).is_null()
    return nw.when(there & (others > 0)).then((rank - 1) / others).otherwise(nw.when(there).then(0.5))


def _department() -> nw.Expr:
    return nw.col(CATEGORY).str.replace_all(r"\|.*", "").alias(DEPARTMENT)

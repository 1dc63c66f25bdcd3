"""Compute the catalogue features of items: top-level category, brand, and price rank in the category."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, CATEGORY, ITEM_ID, PRICE, QUANTITY, VALUE
from models.features.expressions import Frame, Materialize, known, no_cache, sold

DEPARTMENT: Final = "_department"
"""The top level of a category path."""
PRICE_RANK: Final = "price_rank"


def catalogue_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per catalogue item with an event known at `now`: item_id, `_department`, brand, price_rank.

    `items` is the catalogue as known at `now`. An item without a listed price uses the mean price paid for it until
    then.
    """
    paid = mean_prices(materialize(lambda: sold(events, now), f"sold {now}"))
    counts = materialize(lambda: known(events, now).group_by(ITEM_ID).agg(nw.len().alias("_events")), f"items {now}")
    active = items.select(ITEM_ID, CATEGORY, BRAND, PRICE).join(counts.select(ITEM_ID), on=ITEM_ID, how="inner")
    listed = active.join(paid, on=ITEM_ID, how="left")
    priced = listed.with_columns(nw.coalesce(nw.col(PRICE).cast(nw.Float64), "mean_price").alias(PRICE))
    return priced.select(ITEM_ID, _department(), BRAND, _rank().alias(PRICE_RANK))


def departments(items: Frame) -> Frame:
    """Return item_id and the top-level category of each catalogue item."""
    return items.select(ITEM_ID, _department())


def numbered(column: str) -> nw.Expr:
    """Return the alphabetical rank of the names in `column`, from 1: numbers are cheaper to join and group by."""
    return nw.col(column).rank("dense").cast(nw.Int64)


def mean_prices(sold: Frame) -> Frame:
    """Return item_id and mean_price, the money by the pieces `sold`; null if no piece was sold."""
    pieces, money = nw.col(QUANTITY), nw.col(VALUE)
    return sold.select(ITEM_ID, nw.when(pieces > 0).then(money / pieces).alias("mean_price"))


def _rank() -> nw.Expr:
    """Return 0 for the cheapest item of a category, 1 for the most expensive; equal prices share their mean rank.

    Money is summed in any order, so prices that differ by less than a millionth are equal.
    """
    millionths = nw.col(PRICE) * 1e6 + 0.5
    rank = (millionths - millionths % 1).rank("average").over(CATEGORY)
    others = nw.col(PRICE).count().over(CATEGORY) - 1
    ranked = ~nw.col(CATEGORY).is_null() & ~nw.col(PRICE).is_null()
    return nw.when(ranked & (others > 0)).then((rank - 1) / others).otherwise(nw.when(ranked).then(0.5))


def _department() -> nw.Expr:
    return nw.col(CATEGORY).str.replace_all(r"\|.*", "").alias(DEPARTMENT)

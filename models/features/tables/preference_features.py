"""Compute preference features of users: favourite categories and brands, variety, and price level."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, ITEM_ID, USER_KEY
from models.features.expressions import Frame, purchases
from models.features.tables.catalogue_features import DEPARTMENT, PRICE_RANK, numbered

_CODES: Final = 1 << 30
"""Larger than the number of names."""


def price_levels(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key and price_level: the mean price rank of the user's purchase rows."""
    ranks = catalogue.select(ITEM_ID, PRICE_RANK)
    bought = purchases(events, now).join(ranks, on=ITEM_ID, how="inner")
    return bought.group_by(USER_KEY).agg(nw.col(PRICE_RANK).mean().alias("price_level"))


def departments(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key, top_category, top_category_share, categories, category_entropy."""
    return _affinity(events, catalogue, now, DEPARTMENT, "category", "categories")


def brands(events: Frame, catalogue: Frame, now: int) -> Frame:
    """Return user_key, top_brand, top_brand_share, brands, brand_entropy."""
    return _affinity(events, catalogue, now, BRAND, "brand", "brands")


def _affinity(events: Frame, catalogue: Frame, now: int, column: str, one: str, many: str) -> Frame:
    names_of_items = catalogue.filter(~nw.col(column).is_null()).select(ITEM_ID, nw.col(column).alias(f"top_{one}"))
    coded = names_of_items.with_columns(numbered(f"top_{one}").alias("_code"))
    names = coded.group_by("_code").agg(nw.col(f"top_{one}").min())
    rows = purchases(events, now).join(coded.select(ITEM_ID, "_code"), on=ITEM_ID, how="inner")
    counted = rows.group_by(USER_KEY, "_code").agg(nw.len().alias("_rows"))
    return _summary(counted, one, many).join(names, on="_code", how="left").drop("_code")


def _summary(counted: Frame, one: str, many: str) -> Frame:
    """Return the most frequent code (the smallest of equal ones), its share, the number of codes and their entropy.

    With n rows of each code and N of all, the entropy -sum(n/N ln(n/N)) is ln N - sum(n ln n)/N.
    """
    rows, total = nw.col("_rows"), nw.col("_total")
    ordered = counted.with_columns(
        (rows * _CODES + (_CODES - 1 - nw.col("_code"))).alias("_best"), (rows * rows.log()).alias("_bits")
    )
    sums = ordered.group_by(USER_KEY).agg(
        rows.sum().alias("_total"), nw.len().alias(many), nw.col("_best").max(), nw.col("_bits").sum(), rows.max()
    )
    # One code alone has an entropy of 0: rounding must not change it.
    entropy = nw.when(nw.col(many) > 1).then(total.log() - nw.col("_bits") / total).otherwise(nw.lit(0.0))
    return sums.with_columns(total.cast(nw.Int64)).select(
        USER_KEY,
        (_CODES - 1 - nw.col("_best") % _CODES).alias("_code"),
        (rows / total).alias(f"top_{one}_share"),
        many,
        entropy.alias(f"{one}_entropy"),
    )

"""What a user's purchases say about taste: the categories and brands bought most, how varied, and how dear."""

from typing import Final

import narwhals as nw

from models.columns import BRAND, ITEM_ID, USER_KEY
from models.features.expressions import Frame, purchases
from models.features.tables.catalogue_features import DEPARTMENT, PRICE_RANK, numbered

_CODES: Final = 1 << 30
"""More than there are names."""


def price_levels(events: Frame, shelf: Frame, now: int) -> Frame:
    """user_key and price_level: the mean price rank of what the user bought, weighed by purchase rows."""
    ranks = shelf.select(ITEM_ID, PRICE_RANK)
    bought = purchases(events, now).join(ranks, on=ITEM_ID, how="inner")
    return bought.group_by(USER_KEY).agg(nw.col(PRICE_RANK).mean().alias("price_level"))


def departments(events: Frame, shelf: Frame, now: int) -> Frame:
    """user_key, top_category, top_category_share, categories, category_entropy."""
    return _affinity(events, shelf, now, DEPARTMENT, "category", "categories")


def brands(events: Frame, shelf: Frame, now: int) -> Frame:
    """user_key, top_brand, top_brand_share, brands, brand_entropy."""
    return _affinity(events, shelf, now, BRAND, "brand", "brands")


def _affinity(events: Frame, shelf: Frame, now: int, column: str, one: str, many: str) -> Frame:
    named = shelf.filter(~nw.col(column).is_null()).select(ITEM_ID, nw.col(column).alias(f"top_{one}"))
    coded = named.with_columns(numbered(f"top_{one}").alias("_code"))
    names = coded.group_by("_code").agg(nw.col(f"top_{one}").min())
    rows = purchases(events, now).join(coded.select(ITEM_ID, "_code"), on=ITEM_ID, how="inner")
    counted = rows.group_by(USER_KEY, "_code").agg(nw.len().alias("_rows"))
    return _summary(counted, one, many).join(names, on="_code", how="left").drop("_code")


def _summary(counted: Frame, one: str, many: str) -> Frame:
    """The code counted most, of equal ones the smallest; its share, the number of codes and their entropy.

    With n rows of each code and N of all, the entropy -sum(n/N ln(n/N)) is ln N - sum(n ln n)/N.
    """
    rows, total = nw.col("_rows"), nw.col("_total")
    ordered = counted.with_columns(
        (rows * _CODES + (_CODES - 1 - nw.col("_code"))).alias("_best"), (rows * rows.log()).alias("_bits")
    )
    sums = ordered.group_by(USER_KEY).agg(
        rows.sum().alias("_total"), nw.len().alias(many), nw.col("_best").max(), nw.col("_bits").sum(), rows.max()
    )
    # What was bought of one code alone has no entropy: rounding must not make it a trace above or below.
    entropy = nw.when(nw.col(many) > 1).then(total.log() - nw.col("_bits") / total).otherwise(nw.lit(0.0))
    return sums.with_columns(total.cast(nw.Int64)).select(
        USER_KEY,
        (_CODES - 1 - nw.col("_best") % _CODES).alias("_code"),
        (rows / total).alias(f"top_{one}_share"),
        many,
        entropy.alias(f"{one}_entropy"),
    )

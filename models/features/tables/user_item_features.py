"""Compute features of user-item pairs: frequency, recency, and whether a repurchase is due."""

import narwhals as nw

from models.columns import ITEM_ID, USER_KEY
from models.features.definitions import PAIR_FEATURES
from models.features.expressions import Frame, Materialize, days_before, indicator, no_cache, orders
from models.features.tables.item_features import DEPARTMENT, departments, history, numbered, repurchase_gaps


def pair_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """Return one row per user and item with history known at `now` (epoch s), with `PAIR_FEATURES`. Stays lazy.

    `items` is the catalogue: item_id, category. Impressions make no history.
    """
    pairs = materialize(lambda: history(events, now, materialize), f"history {now}")
    with_department = pairs.join(_departments(items), on=ITEM_ID, how="left")
    whole = (
        with_department.join(repurchase_gaps(pairs), on=ITEM_ID, how="left")
        .join(materialize(lambda: orders(events, now), f"orders {now}"), on=USER_KEY, how="left")
        .join(_department_purchases(with_department), on=[USER_KEY, DEPARTMENT], how="left")
    )
    known = whole.with_columns(
        days_before(now, "_last").alias("days_since_last"),
        days_before(now, "_department_last").alias("category_recency_days"),
        (nw.col("baskets") / nw.col("frequency")).alias("basket_share"),
        _carted().alias("carted"),
    ).with_columns(_due().alias("due"))
    return known.select(USER_KEY, ITEM_ID, *(feature.name for feature in PAIR_FEATURES))


def _departments(items: Frame) -> Frame:
    """Return item_id and its top-level category as a number, for items that have one."""
    with_department = departments(items).filter(~nw.col(DEPARTMENT).is_null())
    return with_department.select(ITEM_ID, numbered(DEPARTMENT).alias(DEPARTMENT))


def _department_purchases(with_department: Frame) -> Frame:
    """Return the time of each user's last purchase in each top-level category."""
    bought = with_department.filter(~nw.col(DEPARTMENT).is_null(), nw.col("baskets") > 0)
    return bought.group_by(USER_KEY, DEPARTMENT).agg(nw.col("_last").max().alias("_department_last"))


def _due() -> nw.Expr:
    """Return the time since the last purchase by the usual gap: the user's, else the item's, at least a day."""
    gap = nw.coalesce("own_gap_days", "repurchase_gap_days")
    return (
        nw.when(gap > 1)
        .then(nw.col("days_since_last") / gap)
        .otherwise(nw.when(~gap.is_null()).then(nw.col("days_since_last")))
    )


def _carted() -> nw.Expr:
    """Return 1 while the cart holds the item. An item bought or removed in the same second is not in the cart."""
    carted = nw.col("_carted")
    bought, removed = ((nw.col(name) >= carted).fill_null(False) for name in ("_last", "_removed"))
    return indicator(~carted.is_null() & ~bought & ~removed)

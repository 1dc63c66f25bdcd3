"""What has been between a user and an item: how often, how lately, and whether it is due again."""

import narwhals as nw

from models.columns import ITEM_ID, USER_KEY
from models.features.definitions import PAIR_FEATURES
from models.features.expressions import Frame, Materialize, days_before, indicator, no_cache, orders
from models.features.tables.catalogue_features import DEPARTMENT, departments, numbered
from models.features.tables.item_features import repurchase_gaps
from models.features.tables.user_item_history import history


def pair_features(events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame:
    """One row per user and item with history known at `now` (epoch s): `user_key`, `item_id`, `PAIR_FEATURES`. Lazy.

    `items` is the catalogue: item_id, category. Impressions make no history.
    """
    pairs = materialize(lambda: history(events, now, materialize), f"history {now}")
    placed = pairs.join(_departments(items), on=ITEM_ID, how="left")
    whole = (
        placed.join(repurchase_gaps(pairs), on=ITEM_ID, how="left")
        .join(materialize(lambda: orders(events, now), f"orders {now}"), on=USER_KEY, how="left")
        .join(_department_purchases(placed), on=[USER_KEY, DEPARTMENT], how="left")
    )
    known = whole.with_columns(
        days_before(now, "_last").alias("days_since_last"),
        days_before(now, "_department_last").alias("category_recency_days"),
        (nw.col("baskets") / nw.col("frequency")).alias("basket_share"),
        _carted().alias("carted"),
    ).with_columns(_due().alias("due"))
    return known.select(USER_KEY, ITEM_ID, *(feature.name for feature in PAIR_FEATURES))


def _departments(items: Frame) -> Frame:
    """item_id and its top-level category as a number, of the items that have one."""
    named = departments(items).filter(~nw.col(DEPARTMENT).is_null())
    return named.select(ITEM_ID, numbered(DEPARTMENT).alias(DEPARTMENT))


def _department_purchases(placed: Frame) -> Frame:
    """When each user last bought in each top-level category."""
    bought = placed.filter(~nw.col(DEPARTMENT).is_null(), nw.col("baskets") > 0)
    return bought.group_by(USER_KEY, DEPARTMENT).agg(nw.col("_last").max().alias("_department_last"))


def _due() -> nw.Expr:
    """Time since the last purchase by the usual gap: the user's own, else the item's, of a day at least."""
    gap = nw.coalesce("own_gap_days", "repurchase_gap_days")
    return (
        nw.when(gap > 1)
        .then(nw.col("days_since_last") / gap)
        .otherwise(nw.when(~gap.is_null()).then(nw.col("days_since_last")))
    )


def _carted() -> nw.Expr:
    """1 while the cart holds it. What was bought or taken out in the same second is no longer there."""
    carted = nw.col("_carted")
    bought, removed = ((nw.col(name) >= carted).fill_null(False) for name in ("_last", "_removed"))
    return indicator(~carted.is_null() & ~bought & ~removed)

"""Every feature by name: what it means and in which unit. Tables, tags and documents use these words."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Feature:
    """One column of a feature table."""

    name: str
    meaning: str
    unit: str


USER_FEATURES: Final = (
    Feature("recency_days", "time since the latest purchase", "days"),
    Feature("frequency", "different baskets", "baskets"),
    Feature("monetary", "money spent", "currency of the events"),
    Feature("tenure_days", "time since the first purchase", "days"),
    Feature("active_days", "different UTC days with a purchase", "days"),
)

ITEM_FEATURES: Final = (
    Feature("popularity_7d", "baskets with the item in the last 7 days", "baskets"),
    Feature("popularity_28d", "baskets with the item in the last 28 days", "baskets"),
    Feature("popularity_365d", "baskets with the item in the last 365 days", "baskets"),
    Feature("distinct_users", "users who have bought the item", "users"),
    Feature("mean_price", "money taken for the item by pieces sold", "currency of the events a piece"),
    Feature("age_days", "time since the item was first bought", "days"),
)

"""Names, meanings and units of all features, as tables, tags and documents use them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Feature:
    """One column of a feature table."""

    name: str
    meaning: str
    unit: str


USER_FEATURES: Final = (
    Feature("recency_days", "time since the latest purchase; none without one", "days"),
    Feature("frequency", "different baskets", "baskets"),
    Feature("monetary", "money spent", "currency of the events"),
    Feature("tenure_days", "time since the first purchase; none without one", "days"),
    Feature("active_days", "different UTC days with a purchase", "days"),
    Feature("basket_value", "money spent divided by the number of baskets", "currency of the events per basket"),
    Feature(
        "price_level",
        "mean price rank of purchased items: 0 is the cheapest of its category, 1 the most expensive",
        "0 to 1",
    ),
    Feature("sessions", "visits: events with less than 30 minutes from one to the next", "sessions"),
    Feature("mean_session_minutes", "time from the first to the last event of a session, on average", "minutes"),
    Feature("events_per_session", "events divided by the number of sessions", "events per session"),
    Feature("engagement", "events weighted by their type, halved every 30 days", "weighted events"),
    Feature("evening_share", "share of the active half-hours between 18:00 and 24:00 UTC", "0 to 1"),
    Feature("weekend_share", "share of the active half-hours on a Saturday or Sunday (UTC)", "0 to 1"),
    Feature("favourite_hour", "UTC hour with the most active half-hours; ties go to the earliest", "0 to 23"),
    Feature("top_category", "most purchased top-level category; ties go to the first by name", "name"),
    Feature("top_category_share", "share of `top_category` in the purchase rows with a category", "0 to 1"),
    Feature("categories", "different purchased top-level categories", "categories"),
    Feature("category_entropy", "Shannon entropy of the purchased top-level categories", "nats"),
    Feature("top_brand", "most purchased brand; ties go to the first by name", "name"),
    Feature("top_brand_share", "share of `top_brand` in the purchase rows with a brand", "0 to 1"),
    Feature("brands", "different purchased brands", "brands"),
    Feature("brand_entropy", "Shannon entropy of the purchased brands", "nats"),
)

ITEM_FEATURES: Final = (
    Feature("popularity_7d", "baskets with the item in the last 7 days", "baskets"),
    Feature("popularity_28d", "baskets with the item in the last 28 days", "baskets"),
    Feature("popularity_365d", "baskets with the item in the last 365 days", "baskets"),
    Feature(
        "trend", "weekly baskets of the last 7 days over those of the last 28, each plus one: 1 is steady", "ratio"
    ),
    Feature("distinct_users", "users who have bought the item", "users"),
    Feature("mean_price", "revenue of the item divided by the pieces sold", "currency of the events per piece"),
    Feature(
        "price_rank", "rank of its price in its category: 0 is the cheapest, 1 the most expensive, 0.5 alone", "0 to 1"
    ),
    Feature("age_days", "time since the first purchase of the item; none without a purchase", "days"),
    Feature("repurchase_rate", "share of its buyers with two or more baskets that hold it", "0 to 1"),
    Feature("repurchase_gap_days", "median over those buyers of their mean time between baskets", "days"),
    Feature("views_28d", "views in the last 28 days", "events"),
    Feature("carts_28d", "additions to a cart in the last 28 days", "events"),
    Feature("view_to_cart", "share of the viewers in 28 days who added it to a cart, smoothed", "0 to 1"),
    Feature("cart_to_purchase", "share of the users with it in a cart in 28 days who bought it, smoothed", "0 to 1"),
    Feature("view_to_purchase", "share of the viewers in 28 days who bought it, smoothed", "0 to 1"),
)

PAIR_FEATURES: Final = (
    Feature("baskets", "the user's baskets with the item", "baskets"),
    Feature("decayed_7d", "those baskets, each halved every 7 days", "baskets"),
    Feature("decayed_30d", "those baskets, each halved every 30 days", "baskets"),
    Feature("decayed_90d", "those baskets, each halved every 90 days", "baskets"),
    Feature("decayed_365d", "those baskets, each halved every 365 days", "baskets"),
    Feature("days_since_last", "time since the user last bought the item", "days"),
    Feature("own_gap_days", "mean time between the user's baskets with it; none with fewer than two", "days"),
    Feature("due", "days_since_last over own_gap_days, or over the item's repurchase gap (at least a day)", "ratio"),
    Feature("basket_share", "share of the user's baskets that hold the item", "0 to 1"),
    Feature("category_recency_days", "time since the user last bought in the item's top-level category", "days"),
    Feature("views_7d", "the user's views of the item in the last 7 days", "events"),
    Feature("carted", "1 if it was added to the cart, and since then neither removed nor bought", "0 or 1"),
)

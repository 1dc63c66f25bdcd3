from typing import Any

import pytest

from models.features.tables.item_features import SMOOTHING, item_features

DAY = 86_400
NOW = 400 * DAY
EVENTS = [
    ("ann", "milk", "purchase", 0, "s1", 2.0, 4.0),
    ("ann", "tea", "purchase", 0, "s1", 1.0, 6.0),
    ("ann", "milk", "purchase", 399 * DAY, "s2", 1.0, 2.0),
    ("ann", "milk", "purchase", 399 * DAY + 3600, "s3", 1.0, 3.0),
    ("ann", "milk", "purchase", 399 * DAY + 3700, "s3", 1.0, 3.0),  # the same basket once more
    ("bob", "milk", "purchase", 393 * DAY, "s2", 2.0, 4.0),  # the very edge of 7 days; ann's session id
    ("bob", "tea", "purchase", 390 * DAY, None, 1.0, None),
    ("bob", "tea", "purchase", 391 * DAY, None, 0.0, 6.0),
    ("bob", "gum", "purchase", NOW, "s9", 1.0, 1.0),  # now: not known yet
    ("cleo", "gum", "impression", 5),
]
ITEMS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", None, 6.0), ("cola", "food|drinks", "fizz", 1.0)]


def features_of(answer: Any, events: list[Any], items: list[Any] = ITEMS) -> dict[str, object]:
    return {row["item_id"]: row for row in answer(item_features, events, items, NOW)}


def test_purchases_by_hand(answer: Any) -> None:
    known = features_of(answer, EVENTS)
    names = ("popularity_7d", "popularity_28d", "popularity_365d", "distinct_users", "mean_price", "age_days")
    assert known.keys() == {"milk", "tea"}
    assert [known["milk"][name] for name in names] == pytest.approx([3, 3, 3, 2, 16 / 7, 400])
    assert [known["tea"][name] for name in names] == pytest.approx([0, 2, 2, 2, 12 / 2, 400])


def test_the_trend_is_one_when_this_week_is_like_the_others(answer: Any) -> None:
    weekly = [("ann", "even", "purchase", NOW - day * DAY, f"s{day}") for day in (1, 8, 15, 22)]
    known = features_of(answer, EVENTS + weekly)
    assert known["even"]["trend"] == 1
    assert known["milk"]["trend"] == (3 + 1) / (3 / 4 + 1)
    assert known["tea"]["trend"] == (0 + 1) / (2 / 4 + 1)


def test_repurchases_count_returning_users(answer: Any) -> None:
    later = [("bob", "milk", "purchase", 393 * DAY + moment, f"b{moment}") for moment in (DAY, 3 * DAY)]
    known = features_of(answer, EVENTS + later)
    # ann's gaps of milk, from the latest moment of one basket to that of the next: 399 days in all, over two gaps
    anns, bobs = (399 * DAY + 3700) / 2 / DAY, 3 / 2
    assert known["milk"]["repurchase_rate"] == 1
    assert known["milk"]["repurchase_gap_days"] == pytest.approx((anns + bobs) / 2)
    assert known["tea"]["repurchase_rate"] == 1 / 2
    assert known["tea"]["repurchase_gap_days"] == pytest.approx(1)


def test_conversions_by_hand(answer: Any) -> None:
    lately = NOW - DAY
    funnel = [
        ("ann", "hat", "view", lately),
        ("ann", "hat", "view", lately + 1),
        ("ann", "hat", "add_to_cart", lately),
        ("ann", "hat", "purchase", lately, "s"),
        ("bob", "hat", "view", lately),
        ("bob", "hat", "add_to_cart", lately),
        ("cleo", "hat", "view", lately),
        ("dan", "hat", "view", NOW - 28 * DAY - 1),  # too long ago
        ("ann", "cap", "view", NOW - 28 * DAY),
        ("bob", "cap", "add_to_cart", lately),
        ("bob", "bag", "purchase", lately, "s"),
    ]
    known = features_of(answer, funnel)
    hat, cap, bag, ten = known["hat"], known["cap"], known["bag"], SMOOTHING
    assert (hat["views_28d"], hat["carts_28d"], cap["views_28d"], cap["carts_28d"]) == (4, 2, 1, 1)
    assert hat["view_to_cart"] == pytest.approx((2 + ten * 2 / 4) / (3 + ten))
    assert cap["view_to_cart"] == pytest.approx((0 + ten * 2 / 4) / (1 + ten))
    assert hat["cart_to_purchase"] == pytest.approx((1 + ten * 1 / 3) / (2 + ten))
    assert hat["view_to_purchase"] == pytest.approx((1 + ten * 1 / 4) / (3 + ten))
    assert [bag[name] for name in ("view_to_cart", "cart_to_purchase", "view_to_purchase")] == [None] * 3


def test_an_item_only_looked_at_has_no_buyers(answer: Any) -> None:
    hat = features_of(answer, [("ann", "hat", "view", 5)])["hat"]
    assert (hat["popularity_365d"], hat["distinct_users"], hat["trend"]) == (0, 0, 1)
    assert [hat[name] for name in ("age_days", "mean_price", "repurchase_rate", "repurchase_gap_days")] == [None] * 4

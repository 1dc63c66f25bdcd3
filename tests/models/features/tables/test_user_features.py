from typing import Any

import pytest

from models.features.tables.user_features import user_features

DAY = 86_400
NOW = 400 * DAY
EVENTS = [
    ("ann", "milk", "purchase", 0, "s1", 2.0, 4.0),
    ("ann", "tea", "purchase", 0, "s1", 1.0, 6.0),
    ("ann", "milk", "purchase", 399 * DAY, "s2", 1.0, 2.0),
    ("ann", "milk", "purchase", 399 * DAY + 3600, "s3", 1.0, 3.0),
    ("ann", "milk", "purchase", 399 * DAY + 3700, "s3", 1.0, 3.0),
    ("bob", "milk", "purchase", 393 * DAY, "s2", 2.0, 4.0),  # ann's session id
    ("bob", "tea", "purchase", 390 * DAY, None, 1.0, None),
    ("bob", "tea", "purchase", 391 * DAY, None, 0.0, 6.0),
    ("bob", "gum", "purchase", NOW, "s9", 1.0, 1.0),  # now: not known yet
    ("bob", "gum", "purchase", 0, "s8", 1.0, 1.0, NOW),  # long ago, but received now
    ("cleo", "gum", "view", 1),
    ("dan", "gum", "purchase", NOW + 1, "s9", 1.0, 1.0),
]
ITEMS = [("milk", "food|dairy", "moo", 2.0), ("tea", "food|drinks", None, 6.0), ("cola", "food|drinks", "fizz", 1.0)]


@pytest.fixture
def users(answer: Any) -> dict[str, object]:
    return {row["user_key"]: row for row in answer(user_features, EVENTS, ITEMS, NOW)}


def test_purchases_by_hand(users: dict[str, object]) -> None:
    names = ("recency_days", "frequency", "monetary", "tenure_days", "active_days", "basket_value")
    ann = (1 - 3700 / DAY, 3, 18.0, 400, 2, 6.0)
    bob = (7, 3, 10.0, 10, 3, 10 / 3)
    assert [users["ann"][name] for name in names] == pytest.approx(ann)
    assert [users["bob"][name] for name in names] == pytest.approx(bob)


def test_a_user_who_only_viewed_has_no_purchase_and_no_time(users: dict[str, object]) -> None:
    cleo = users["cleo"]
    bought = ("frequency", "monetary", "active_days", "categories", "brands")
    never = ("recency_days", "tenure_days", "basket_value", "price_level", "top_category", "top_brand", "brand_entropy")
    assert [cleo[name] for name in bought] == [0, 0, 0, 0, 0]
    assert [cleo[name] for name in never] == [None] * 7
    assert cleo["sessions"] == 1


def test_an_unknown_user_has_no_row(users: dict[str, object]) -> None:
    assert users.keys() == {"ann", "bob", "cleo"}
